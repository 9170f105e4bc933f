-- Why a call went to another model than the one its agent prefers.

ALTER TABLE entry ADD COLUMN routed_why TEXT;
