"""The main job as its user does it, in a real Chromium: import, choose, write, schedule, watch, ask why.

What the workers would do is done by the test between two clicks. Skipped, and said so, without a Chromium.
"""

import shutil
from collections.abc import Iterator
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from campaigns import collecting, dispatch, reports, services
from campaigns.models import Campaign
from campaigns.tests.factories import make_brand
from core.roles import Role
from core.tests.factories import make_user
from customers.imports import CUSTOMERS, jobs
from customers.models import Customer, ImportJob

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync", "--disable-quic"]
PASSWORD = "a long enough pass phrase"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="No Chromium on this machine: browser tests not run."),
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
]

CUSTOMERS_FILE = """\
customer_id,first_name,last_name,email,phone,language,country,city,email_marketing,sms_marketing,consent_source,consent_on
1,Ada,Moretti,ada@mail.example,+393331234501,en,IT,Milano,yes,yes,till form 2025,2025-03-01
2,Bruno,Neri,bruno@mail.example,+393331234502,it,IT,Milano,yes,no,till form 2025,2025-03-01
3,Carla,Fontana,carla@mail.example,,it,IT,Milano,no,no,till form 2025,2025-03-01
4,Dario,Greco,dario@mail.example,+393331234504,it,IT,Roma,yes,yes,till form 2025,2025-03-01
5,Broken,Row,not an address,,it,IT,Roma,yes,no,till form 2025,2025-03-01
"""


@pytest.fixture(autouse=True)
def _allow_django_beside_playwright(monkeypatch) -> None:
    # Playwright's sync API keeps an event loop in this thread; Django would refuse to query beside it.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")


@pytest.fixture
def browser() -> Iterator[BrowserContext]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


class House:
    """A browser window that notes every request leaving our host and every error on the page."""

    def __init__(self, browser, address: str, **options) -> None:
        defaults = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB", "reduced_motion": "reduce"}
        self.context = browser.new_context(base_url=address, **(defaults | options))
        self.strangers: list[str] = []
        self.errors: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("request", lambda request: self._note(request.url, address))
        self.page.on("console", lambda message: self._complain(message.type, message.text))
        self.page.on("response", lambda response: self._answer(response.status, response.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "about:", "blob:")):
            self.strangers.append(url)

    def _complain(self, kind: str, text: str) -> None:
        if kind == "error":
            self.errors.append(text)

    def _answer(self, status: int, url: str) -> None:
        if status >= 400:
            self.errors.append(f"{status} {url}")

    def sign_in(self, email: str) -> None:
        self.page.goto("/account/login/")
        self.page.locator("[name=login]").fill(email)
        self.page.locator("[name=password]").fill(PASSWORD)
        self.page.locator("form button[type=submit]").first.click()
        self.page.wait_for_url("**/")

    def check_accessibility(self) -> None:
        # Without preloading, Axe fetches and injects no style sheets, which our policy would refuse.
        found = Axe().run(self.page, options={"preload": False})
        assert found.violations_count == 0, found.generate_report()


def work() -> None:
    """What beat and the workers do in a few seconds."""
    services.launch_due()
    while dispatch.dispatch_batch(owner=uuid4()):
        pass
    services.finish_campaigns()
    collecting.collect_sandbox_reports()
    while reports.process():
        pass


@pytest.mark.timeout(600)
def test_the_main_job_from_a_file_to_the_reason_why(browser, live_server, sink, tmp_path):
    make_user(email="manager@x.example", name="Anna Villa", password=PASSWORD)
    make_brand(name="Casa Prova")
    file = tmp_path / "customers.csv"
    file.write_text(CUSTOMERS_FILE)
    house = House(browser, live_server.url)
    page = house.page

    house.sign_in("manager@x.example")
    house.check_accessibility()

    page.goto("/customers/import/")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    house.check_accessibility()
    page.get_by_role("button", name="Check the file").click()
    page.get_by_role("button", name="Import 5 rows").click()
    page.wait_for_url("**/customers/import/*/")
    jobs.run_import(ImportJob.objects.get().pk, importer=CUSTOMERS)
    expect(page.get_by_text("not an address").first).to_be_visible()
    house.check_accessibility()
    assert Customer.objects.count() == 4

    page.goto("/segments/new/")
    page.locator("[name=name]").fill("People of Milano")
    page.locator("select[name$=-what]").first.select_option(label="City")
    value = page.locator(".rule input[type=text], .rule input[list]").first
    value.fill("Milano")
    expect(page.locator("#seg-count")).to_contain_text("3")
    house.check_accessibility()
    page.get_by_role("button", name="Save segment").click()
    page.wait_for_url("**/segments/*/")

    page.goto("/campaigns/new/")
    page.locator("[name=name]").fill("Winter letter")
    page.locator("[name=holdout_percent]").fill("0")
    page.locator("form button[type=submit]", has_text="audience").click()
    page.get_by_label("People of Milano").first.check()
    expect(page.locator("main")).to_contain_text("3")
    house.check_accessibility()
    page.get_by_role("button", name="Save and write the content").click()
    page.locator("[name=subject]").fill("Hello {{ first_name | default: 'friend' }}")
    page.locator("textarea[name=body]").fill("Our **winter** is here: https://casaprova.example/winter")
    house.check_accessibility()
    page.get_by_role("button", name="Save and schedule").click()
    house.check_accessibility()
    page.get_by_role("button", name="Save and review").click()
    house.check_accessibility()
    page.get_by_role("button", name="Send to 2 people").click()
    campaign = Campaign.objects.get()
    page.wait_for_url(f"**/campaigns/{campaign.pk}/")

    work()
    expect(page.locator("main")).to_contain_text("Sent", timeout=20_000)
    page.reload()
    expect(page.locator("main")).to_contain_text("No consent for this channel")
    house.check_accessibility()
    assert sorted(sink.addresses) == ["ada@mail.example", "bruno@mail.example"]

    carla = Customer.objects.get(first_name="Carla")
    page.goto(f"/customers/{carla.public_id}/")
    house.check_accessibility()
    page.locator(".tabs").get_by_text("Messages").click()
    expect(page.locator("main")).to_contain_text("No consent for this channel")
    house.check_accessibility()

    assert house.strangers == []
    assert house.errors == []


PAGES = ["/", "/customers/", "/segments/", "/campaigns/", "/brands/", "/history/", "/customers/imports/"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("width", "scheme", "language"),
    [(1440, "dark", "it"), (1024, "light", "it"), (1024, "dark", "en"), (390, "light", "en")],
)
def test_every_room_is_accessible_in_every_light_and_language(browser, live_server, width, scheme, language):
    make_user(email="admin@x.example", role=Role.ADMINISTRATOR, password=PASSWORD, language=language)
    make_brand(name="Casa Prova")
    house = House(
        browser,
        live_server.url,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        locale="it-IT" if language == "it" else "en-GB",
    )
    house.sign_in("admin@x.example")

    for address in PAGES:
        house.page.goto(address)
        assert house.page.locator("html").get_attribute("lang") == language
        house.check_accessibility()
        scroll = house.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert scroll <= 0, f"{address} scrolls sideways by {scroll} px at {width}"

    assert house.strangers == []
    assert house.errors == []


@pytest.mark.timeout(300)
def test_the_palette_finds_a_person_by_keyboard_alone(browser, live_server):
    make_user(email="manager@x.example", password=PASSWORD)
    customer = Customer.objects.create(first_name="Ludovica", last_name="Ferraris")
    house = House(browser, live_server.url)
    house.sign_in("manager@x.example")

    house.page.keyboard.press("Control+k")
    house.page.keyboard.type("Ferraris")
    expect(house.page.get_by_role("option").first).to_contain_text("Ludovica Ferraris")
    house.page.keyboard.press("Enter")

    house.page.wait_for_url(f"**/customers/{customer.public_id}/")
    assert house.errors == []
