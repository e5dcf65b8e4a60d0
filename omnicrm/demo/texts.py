"""What Casa Ontano writes to its customers, in Italian and English."""

from dataclasses import dataclass

from customers.models import Channel

from .retailer import WEBSITE

GREETING_IT = "Ciao {{ first_name | default: 'e benvenuto' }},"
GREETING_EN = "Hello {{ first_name | default: 'and welcome' }},"


@dataclass(frozen=True)
class Text:
    channel: str
    language: str
    body: str
    subject: str = ""
    preheader: str = ""
    heading: str = ""
    button_label: str = ""
    button_url: str = ""


def _email(
    language: str, subject: str, preheader: str, heading: str, body: str, button: str, page: str
) -> Text:
    greeting = GREETING_IT if language == "it" else GREETING_EN
    return Text(
        Channel.EMAIL,
        language,
        f"{greeting}\n\n{body}",
        subject,
        preheader,
        heading,
        button,
        f"{WEBSITE}/{language}/{page}",
    )


def _sms(language: str, body: str) -> Text:
    stop = "Stop:" if language == "en" else "Per non ricevere SMS:"
    return Text(Channel.SMS, language, f"{body} {stop} {{{{ unsubscribe_url }}}}")


LINEN = (
    _email(
        "it",
        "{{ first_name | default: 'Ciao' }}, il lino è arrivato",
        "Camicie, tende e lenzuola tessute a Biella.",
        "Il lino nuovo, tessuto a Biella",
        "abbiamo aspettato il raccolto e ne è valsa la pena: camicie, tende e lenzuola in **lino lavato**, "
        "in sei colori presi dal bosco.\n\n"
        "{% if store %}Puoi toccarlo con mano da {{ store }}, dove te ne teniamo da parte la tua taglia."
        "{% else %}Lo spediamo in due giorni, e il reso è sempre gratuito.{% endif %}",
        "Guarda il lino",
        "lino",
    ),
    _email(
        "en",
        "{{ first_name | default: 'Hello' }}, the linen is here",
        "Shirts, curtains and sheets woven in Biella.",
        "New linen, woven in Biella",
        "we waited for the harvest and it was worth it: shirts, curtains and sheets in **washed linen**, in "
        "six colours from the woods.\n\nWe ship across Europe in four days, and returns are free.",
        "See the linen",
        "linen",
    ),
)
REPAIRS = (
    _email(
        "it",
        "Il laboratorio di riparazione apre",
        "Rammendiamo gratis tutto ciò che hai comprato da noi.",
        "Il laboratorio apre",
        "da oggi in negozio c'è un tavolo in più: quello del rammendo. Aggiustiamo **gratis** tutto ciò che "
        "hai comprato da noi.\n\nPorta un maglione stanco, esci con un maglione nuovo. Ti aspettiamo"
        "{% if store %} da {{ store }}{% endif %}.",
        "Come funziona",
        "riparazioni",
    ),
    _email(
        "en",
        "Our repair workshop opens",
        "We mend whatever you bought from us, for free.",
        "The workshop opens",
        "from today there is one more table in the shop: the mending table. We mend whatever you bought from "
        "us, **for free**.\n\nBring a tired jumper, leave with a new one. We look forward to seeing you"
        "{% if store %} at {{ store }}{% endif %}.",
        "How it works",
        "repairs",
    ),
)
LATE_OPENING = (
    _sms(
        "it",
        "{{ first_name | default: 'Ciao' }}, giovedì Porta Venezia resta aperto fino alle 22: "
        f"un bicchiere e la nuova lana. {WEBSITE}/it/giovedi",
    ),
    _sms(
        "en",
        "{{ first_name | default: 'Hello' }}, on Thursday our Porta Venezia shop stays open until 10 pm: "
        f"a glass of wine and the new wool. {WEBSITE}/en/thursday",
    ),
)
PREVIEW = (
    _email(
        "it",
        "Prima di tutti: la collezione di lana",
        "Due giorni prima del sito, solo per chi ci conosce bene.",
        "Due giorni prima di tutti",
        "sei tra i clienti che ci conoscono meglio, e la **lana merino** arriva a te due giorni prima che "
        "sul sito.\n\nSe qualcosa ti piace, rispondi a questa mail: lo mettiamo da parte.",
        "Entra in anteprima",
        "anteprima",
    ),
    _email(
        "en",
        "Before everybody else: the wool collection",
        "Two days before the site, only for those who know us well.",
        "Two days before everybody else",
        "you are one of the customers who know us best, so the **merino wool** reaches you two days before "
        "it reaches the site.\n\nIf you like something, answer this mail and we keep it for you.",
        "Step inside",
        "preview",
    ),
    _sms("it", f"Casa Ontano: l'anteprima della lana è aperta, solo per te. {WEBSITE}/it/anteprima"),
    _sms("en", f"Casa Ontano: the wool preview is open, just for you. {WEBSITE}/en/preview"),
)
FIRST_LOOK = (
    _email(
        "it",
        "{{ first_name | default: 'Ciao' }}, i nuovi arrivi sono in negozio",
        "Cappotti di lana cotta, coperte e le candele che ci avete chiesto.",
        "I nuovi arrivi, visti da vicino",
        "i camion sono arrivati stamattina. Dentro: **cappotti di lana cotta**, coperte di merino e le "
        "candele che ci avete chiesto tutto l'anno.\n\n"
        "{% if store %}Da {{ store }} sono già sugli scaffali; passa quando vuoi, ti offriamo un caffè."
        "{% else %}Sul sito trovi tutto da subito, con consegna in due giorni.{% endif %}\n\n"
        "A presto,\nil gruppo di Casa Ontano",
        "Guarda i nuovi arrivi",
        "nuovi-arrivi",
    ),
    _email(
        "en",
        "{{ first_name | default: 'Hello' }}, the new arrivals are in",
        "Boiled wool coats, blankets and the candles you asked for.",
        "The new arrivals, close up",
        "the lorries came this morning. Inside: **boiled wool coats**, merino blankets and the candles you "
        "have been asking for all year.\n\n"
        "{% if store %}At {{ store }} they are on the shelves already; come by, the coffee is on us."
        "{% else %}Everything is on the site now, and reaches you within four days.{% endif %}\n\n"
        "See you soon,\neverybody at Casa Ontano",
        "See the new arrivals",
        "new-arrivals",
    ),
    _sms(
        "it",
        "{{ first_name | default: 'Ciao' }}, cappotti e coperte nuovi sono arrivati. Guardali qui: "
        f"{WEBSITE}/it/nuovi-arrivi",
    ),
    _sms(
        "en",
        "{{ first_name | default: 'Hello' }}, new coats and blankets are in. Have a look: "
        f"{WEBSITE}/en/new-arrivals",
    ),
)
MENDING = (
    _sms(
        "it",
        "{{ first_name | default: 'Ciao' }}, sabato in negozio rammendiamo insieme: porta un capo, al filo "
        f"pensiamo noi. {WEBSITE}/it/rammendo",
    ),
    *REPAIRS,
)
GIFTS = (
    _email(
        "it",
        "Idee regalo sotto i 50 €",
        "Scelte da chi lavora in negozio.",
        "Idee regalo sotto i 50 €",
        "abbiamo chiesto a chi lavora in negozio che cosa regalerebbe. Ecco le risposte, senza classifica.",
        "Vedi le idee",
        "regali",
    ),
)
LETTER = (
    _email(
        "it",
        "{{ first_name | default: 'Ciao' }}, la lettera del sabato",
        "Una storia di bottega, una ricetta, una cosa bella.",
        "La lettera del sabato",
        "questa settimana siamo stati dal signor Piero, che tesse a mano da cinquant'anni. Ci ha raccontato "
        "perché il **feltro** si lava con l'acqua fredda, e noi lo raccontiamo a te.\n\n"
        "Buon fine settimana,\nil gruppo di Casa Ontano",
        "Leggi la storia",
        "sabato",
    ),
    _email(
        "en",
        "{{ first_name | default: 'Hello' }}, the Saturday letter",
        "A story from the workshop, a recipe, a thing of beauty.",
        "The Saturday letter",
        "this week we went to see Piero, who has been weaving by hand for fifty years. He told us why "
        "**felt** is washed in cold water, and we tell you.\n\nHave a good weekend,\n"
        "everybody at Casa Ontano",
        "Read the story",
        "saturday",
    ),
)
CANDLES = (
    _email(
        "it",
        "Per la prima sera fredda",
        "Cera d'api, lana e mezz'ora di silenzio.",
        "La prima sera fredda",
        "quando fuori fa buio presto, dentro basta poco: una **candela di cera d'api** e una coperta di "
        "lana. Le abbiamo appena rifatte.",
        "Guarda le candele",
        "candele",
    ),
    _email(
        "en",
        "For the first cold evening",
        "Beeswax, wool and half an hour of quiet.",
        "The first cold evening",
        "when it gets dark early, little is enough inside: a **beeswax candle** and a woollen blanket. We "
        "have just made them again.",
        "See the candles",
        "candles",
    ),
)
