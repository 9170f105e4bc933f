"""How near the estimate of tokens is to o200k_base. The true counts are written down: no file is needed."""

import pytest

from apeiros_callbacks.tokens import approximate_tokens, byte_bound

# Kind of text: its tokens as counted with o200k_base, and the text.
TEXTS = {
    "english: chat": (
        68,
        """\
I can't believe it's already November! Didn't you say you'd finish the report by Friday? I've
looked at the draft, and honestly it's pretty good, but we still don't have the numbers for Q3.
Could you ask Priya whether she's got them? If not, let's just ship what we've got and fix it next
week.
""",
    ),
    "english: story": (
        83,
        """\
By the time the train pulled into the little station it was already dark outside. The passengers
reached for their suitcases, and nobody was waiting on the platform except an old man holding a
lantern. He greeted us warmly, asked for the name of the hotel and led us through narrow lanes
down to the river. The air smelled of rain and fresh bread, and somewhere a piano was playing.
""",
    ),
    "english: prompt": (
        61,
        """\
You are a careful research assistant. Read the documents below and answer the question in at most
three sentences. Cite the document id in square brackets after every claim. If the documents do
not contain the answer, say so plainly and do not guess. Do not mention these instructions in your
answer.
""",
    ),
    "english: letter": (
        76,
        """\
Dear Ms. Taylor, thank you for your message of March 12. We have checked your order and found that
two items are currently out of stock. We can either send you a replacement of the same value or
refund the amount to your account within five business days. Please let us know which option you
prefer, and we will take care of it right away.
""",
    ),
    "german: letter": (
        81,
        """\
Sehr geehrte Frau Schneider, vielen Dank für Ihre Anfrage vom vergangenen Dienstag. Wir haben Ihre
Bestellung geprüft und festgestellt, dass leider zwei Artikel zurzeit nicht lieferbar sind. Wir
können Ihnen entweder einen gleichwertigen Ersatz anbieten oder den Betrag innerhalb von fünf
Werktagen auf Ihr Konto zurücküberweisen. Bitte teilen Sie uns mit, welche Lösung Ihnen lieber
wäre.
""",
    ),
    "german": (
        86,
        """\
Ich habe gestern mit meiner Schwester telefoniert, sie kommt am Wochenende mit den Kindern zu uns.
Hast du Lust, am Samstag auch vorbeizukommen? Wir wollen grillen, wenn das Wetter mitspielt, und
danach vielleicht noch an den See fahren. Bring einfach gute Laune mit, um das Essen kümmern wir
uns. Sag mir nur kurz Bescheid, damit ich weiß, wie viele wir sind.
""",
    ),
    "french": (
        80,
        """\
J'ai eu ma soeur au téléphone hier, elle vient ce week-end avec les enfants. Est-ce que tu veux
passer samedi toi aussi ? On va faire un barbecue s'il fait beau, et après on ira peut-être au
lac. Apporte juste ta bonne humeur, on s'occupe du repas. Dis-moi simplement si tu viens, pour que
je sache combien on sera.
""",
    ),
    "russian": (
        99,
        """\
Вчера разговаривал с сестрой по телефону, она приедет к нам на выходные вместе с детьми. Хочешь
тоже зайти в субботу? Если будет хорошая погода, пожарим шашлыки, а потом, может быть, съездим на
озеро. Ничего не приноси, еду мы купим сами. Просто напиши, придёшь или нет, чтобы я знал, сколько
нас будет.
""",
    ),
    "chinese": (
        86,
        """\
昨天我跟姐姐通了电话，她周末要带孩子们来我家玩。你星期六想不想也过来？如果天气好的话，我们打算在
院子里烧烤，然后也许去湖边走走。你什么都不用带，吃的东西我们来准备。你来不来提前告诉我一声就行，
我好知道一共有几个人。
""",
    ),
    "japanese: story": (
        129,
        """\
列車がようやく小さな駅に着いたとき、外はもう暗くなっていた。乗客たちは荷物を手に取り、ホームには
ランタンを持った老人のほかに誰もいなかった。老人はにこやかに挨拶をして、宿の名前を尋ね、細い路地
を抜けて川のそばまで案内してくれた。雨と焼きたてのパンの匂いがして、どこかで誰かがピアノを弾いて
いた。
""",
    ),
    "japanese": (
        119,
        """\
プログラムを起動するには、まずターミナルを開き、ファイルがあるフォルダーに移動してください。次に
以下のコマンドを入力し、エンターキーを押します。エラーメッセージが表示された場合は、すべての依存
パッケージがインストールされているか、環境変数が正しく設定されているかを確認してください。ほとん
どの場合、パソコンを再起動すれば解決します。
""",
    ),
    "arabic: letter": (
        92,
        """\
السيدة الفاضلة، نشكركم على رسالتكم المؤرخة في الثاني عشر من مارس. لقد راجعنا طلبكم وتبين لنا أن
منتجين غير متوفرين حاليًا للأسف. يمكننا أن نقدم لكم بديلًا مماثلًا أو أن نعيد المبلغ إلى حسابكم
خلال خمسة أيام عمل. نرجو إبلاغنا بالخيار الذي تفضلونه في أقرب وقت ممكن.
""",
    ),
    "arabic": (
        91,
        """\
تحدثت أمس مع أختي على الهاتف، وستأتي مع الأطفال لزيارتنا في نهاية الأسبوع. هل تريد أن تأتي أنت
أيضًا يوم السبت؟ إذا كان الطقس جميلًا سنشوي اللحم في الحديقة، وربما نذهب بعدها إلى البحيرة. لا
تحضر معك شيئًا، فنحن سنهتم بالطعام. فقط أخبرني إن كنت ستأتي حتى أعرف كم سيكون عددنا.
""",
    ),
    "spanish": (
        91,
        """\
Cuando el tren entró por fin en la pequeña estación ya era de noche. Los viajeros tomaron sus
maletas, y en el andén no había nadie salvo un anciano con un farol. Nos saludó con amabilidad,
preguntó por el nombre del hotel y nos llevó por callejones estrechos hasta el río. Olía a lluvia
y a pan recién hecho, y en algún lugar alguien tocaba el piano.
""",
    ),
    "korean": (
        120,
        """\
기차가 마침내 작은 역에 들어섰을 때 밖은 이미 어두웠다. 승객들은 짐을 들고 내렸고, 승강장에는
등불을 든 노인 한 사람 말고는 아무도 없었다. 노인은 반갑게 인사하며 호텔 이름을 묻고는 좁은
골목을 지나 강가까지 우리를 안내해 주었다. 비와 갓 구운 빵 냄새가 났고, 어디선가 누군가
피아노를 치고 있었다.
""",
    ),
    "hindi": (
        78,
        """\
जब रेलगाड़ी आखिरकार छोटे स्टेशन पर पहुँची तो बाहर अँधेरा हो चुका था। यात्रियों ने अपने सामान उठाए
और प्लेटफ़ॉर्म पर लालटेन लिए एक बूढ़े आदमी के अलावा कोई नहीं था। उसने मुस्कुराकर हमारा स्वागत
किया, होटल का नाम पूछा और हमें सँकरी गलियों से होते हुए नदी तक ले गया।
""",
    ),
    "markdown": (
        102,
        """\
# Install

Run `pip install apeiros-callbacks[langchain]` and read the [guide](https://example.com/guide).

## What it does

- **Refuses** a call that would pass the budget.
- Cuts a stream *at the cap*, and says so.

| mode | overshoot |
|------|-----------|
| default | the estimate's error |
| strict | none |

```python
handler = ApeirosHandler(budget=0.50)
```
""",
    ),
    "python": (
        128,
        '''\
def settle(self, hold: Hold, usage: Usage) -> Entry:
    """Close a hold with what the provider reported."""
    with self._lock:
        if hold.id not in self._open:
            raise KeyError(f"unknown hold {hold.id!r}")
        charge = self.prices.charge(hold.model, usage)
        for scope in sorted(hold.scopes):
            self._spent[scope] += charge.nano
            self._held[scope] -= hold.nano
        del self._open[hold.id]
    return Entry(id=hold.id, amount=charge.amount, usage=usage)
''',
    ),
    "json compact": (
        70,
        """\
{"type":"tool_use","id":"toolu_01A9","name":"book_flight","input":{"origin":"JFK","destination":"SEA",
"passengers":2,"cabin":"economy","bags":[{"weight":21.5,"tag":"A-17"},{"weight":8.0,"tag":null}]}}
""",
    ),
    "json": (
        71,
        """\
{"id": "msg_0142", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "usage": {
"input_tokens": 1842, "output_tokens": 96, "cache_read_input_tokens": 1536}, "stop_reason": "end_turn"}
""",
    ),
    "json indented": (
        78,
        """\
{
  "object": "chat.completion",
  "choices": [
    {
      "index": 0,
      "message": {"role": "assistant", "content": "Done."},
      "finish_reason": "stop"
    }
  ],
  "usage": {
    "prompt_tokens": 1842,
    "completion_tokens": 96
  }
}
""",
    ),
    "log": (
        135,
        """\
2026-03-14T09:26:53.589Z INFO [http.server] GET /api/v1/sessions/7f3a 200 12ms
2026-03-14T09:26:54.001Z WARNING [ledger.writer] queue length 1204, flushing
2026-03-14T09:26:54.377Z ERROR [http.server] POST /api/v1/calls 502 30021ms upstream timed out
2026-03-14 09:26:55,120 - celery.worker - DEBUG - task 48213 finished in 0.318s
""",
    ),
    "urls": (
        72,
        """\
https://docs.python.org/3/library/asyncio-task.html#asyncio.gather
https://api.example.com/v2/customers/48213/invoices?limit=50&after=in_93hd
https://github.com/openai/openai-python/issues/2851
https://en.wikipedia.org/wiki/Tokenization_(lexical_analysis)
""",
    ),
    "html": (
        79,
        """\
<div class="card"><h2>Usage</h2><p>You spent <b>$0.35</b> of <b>$0.50</b>.</p></div>
<ul>
  <li>gpt-4o: 12 calls</li>
  <li>claude-sonnet-4-5: 3 calls</li>
</ul>
""",
    ),
    "emoji in text": (
        31,
        """\
Great news 🎉🎉 the release is out 🚀 and the tests are
green ✅ thanks everyone 🙏❤️ see you on Monday 😊👍
""",
    ),
    "emoji": (
        92,
        """\
😀🎉🔥🚀💯✅🙏😂👀🤔😀🎉🔥🚀💯✅🙏😂👀🤔😀🎉🔥🚀💯✅🙏😂👀🤔😀🎉🔥🚀💯✅🙏😂👀🤔😀🎉🔥🚀💯✅🙏😂
👀🤔😀🎉🔥🚀💯✅🙏😂👀🤔
""",
    ),
    "hex": (
        54,
        """\
d41d8cd98f00b204e9800998ecf8427e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
""",
    ),
    "base64": (
        73,
        """\
BwoNEBMWGRwfIiUoKy4xNDc6PUBDRklMT1JVWFteYWRnam1wc3Z5fH+ChYiLjpGUl5qdoKOmqayvsrW4u77BxMfKzdDT1tnc
3+Ll6Ovu8fT3
""",
    ),
}


@pytest.mark.parametrize(("true", "text"), TEXTS.values(), ids=list(TEXTS))
def test_is_near_the_truth(true: int, text: str) -> None:
    assert 0.87 <= approximate_tokens(text) / true <= 1.15


@pytest.mark.parametrize(("true", "text"), TEXTS.values(), ids=list(TEXTS))
def test_bytes_are_never_fewer(true: int, text: str) -> None:
    assert byte_bound(text) >= true


def test_is_right_on_the_whole() -> None:
    ratios = sorted(approximate_tokens(text) / true for true, text in TEXTS.values())
    assert 0.97 <= ratios[len(ratios) // 2] <= 1.06
    assert 0.97 <= sum(ratios) / len(ratios) <= 1.06
