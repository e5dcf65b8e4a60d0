from datetime import timedelta

import pytest

from campaigns.machines import Visit, judge

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
ANDROID = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko)"
CHROME = f"{WINDOWS} Chrome/141.0.0.0 Safari/537.36"
APPLE_MAIL = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
OUTLOOK = (
    "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Win64; x64; Trident/8.0; .NET4.0C; .NET4.0E; "
    "Microsoft Outlook 16.0.10730; ms-office; MSOffice 16)"
)
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
GMAIL_ON_ARRIVAL = f"{WINDOWS} Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
YAHOO = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
IMESSAGE = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) "
    "Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0"
)
AN_HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    "agent",
    [
        CHROME,
        f"{IPHONE} Version/18.1 Mobile/15E148 Safari/604.1",
        f"{ANDROID} Chrome/141.0.0.0 Mobile Safari/537.36",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0",
        f"{WINDOWS} Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
        f"{IPHONE} Mobile/15E148",
    ],
)
def test_a_browser_is_a_person(agent):
    verdict = judge(Visit(agent, after=AN_HOUR))
    assert (verdict.score, verdict.signs) == (0, [])
    assert not judge(Visit(agent, after=AN_HOUR, is_open=True)).is_machine


@pytest.mark.parametrize(
    "agent",
    [
        APPLE_MAIL,
        OUTLOOK,
        "Mozilla/4.0 (compatible; ms-office; MSOffice rmj)",
        "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.12026; Pro)",
        "Outlook-iOS/729.2127656.prod.iphone (4.2336.0)",
        "Outlook-Android/2.0",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.2.0",
    ],
)
def test_a_mail_program_that_shows_a_picture_is_a_person(agent):
    assert judge(Visit(agent, after=AN_HOUR, is_open=True)).score == 0


@pytest.mark.parametrize("agent", [GMAIL, YAHOO])
def test_a_proxy_that_loads_pictures_when_the_reader_looks_stands_for_the_reader(agent):
    verdict = judge(Visit(agent, after=AN_HOUR, is_open=True))
    assert (verdict.is_machine, verdict.signs) == (False, ["proxy"])
    assert judge(Visit(agent, after=timedelta(seconds=1), is_open=True)).is_machine


def test_apple_loads_every_picture_and_tells_nothing_by_it():
    assert judge(Visit("Mozilla/5.0", after=AN_HOUR, is_open=True)).signs == ["apple_privacy"]
    assert judge(Visit("Mozilla/5.0", after=AN_HOUR, is_open=True)).is_machine
    assert judge(Visit("Mozilla/5.0", after=AN_HOUR)).signs == ["no_agent"]


@pytest.mark.parametrize(
    "agent",
    [
        "Barracuda Sentinel (EE)",
        "Microsoft SafeLinks",
        "Mozilla/5.0 (compatible; ProofpointURLDefense)",
        "Mimecast",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Trend Micro)",
        "CheckMarkNetwork/1.0 (+https://www.checkmarknetwork.com/spider.html)",
        GMAIL_ON_ARRIVAL,
        IMESSAGE,
        "WhatsApp/2.23.20.0",
        "TelegramBot (like TwitterBot)",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
        f"{WINDOWS} HeadlessChrome/141.0.0.0 Safari/537.36",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "python-requests/2.32.0",
        "curl/8.5.0",
        "Go-http-client/1.1",
        "okhttp/4.9.3",
        "Java/1.8.0_201",
        GMAIL,  # It loads pictures, and follows links for nobody.
    ],
)
def test_a_robot_that_follows_a_link_is_a_machine(agent):
    verdict = judge(Visit(agent, after=AN_HOUR))
    assert (verdict.score, verdict.signs) == (100, ["robot"])


@pytest.mark.parametrize(
    ("visit", "score", "signs"),
    [
        (Visit("", after=AN_HOUR), 60, ["no_agent"]),
        (Visit(CHROME, "HEAD", after=AN_HOUR), 100, ["head"]),
        (Visit(CHROME, purpose="prefetch;prerender", after=AN_HOUR), 100, ["prefetch"]),
        (Visit(CHROME, purpose="preview", after=AN_HOUR), 100, ["prefetch"]),
        (Visit(CHROME, after=AN_HOUR, is_reported=True), 100, ["reported"]),
        (Visit(CHROME, after=timedelta(seconds=2)), 60, ["too_soon"]),
        (Visit(CHROME, after=timedelta(seconds=8)), 30, ["too_soon"]),
        (Visit(CHROME, after=timedelta(seconds=11)), 0, []),
        (Visit(CHROME), 0, []),
        (Visit("Nobody-Knows-Me", after=AN_HOUR), 30, ["unknown_agent"]),
        (Visit("Nobody-Knows-Me", after=timedelta(seconds=8)), 60, ["unknown_agent", "too_soon"]),
        (Visit("curl/8", "HEAD", after=timedelta(seconds=1)), 100, ["robot", "head", "too_soon"]),
    ],
)
def test_signs_add_up_to_a_hundred_at_most(visit, score, signs):
    verdict = judge(visit)
    assert (verdict.score, verdict.signs) == (score, signs)
    assert verdict.is_machine == (score >= 50)
