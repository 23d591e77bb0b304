"""The page in a browser."""

import zipfile

import pytest

from tests.browser import WAY, find_chromium
from tests.conftest import PATIENCE, until


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(browser, address, whispering_hits, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = new_context(browser, address, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    for path in (
        "/",
        "/?captions=sad&not=loud&where=gender%3Dmale",
        "/map",
        "/status",
        "/help",
        f"/clips/{whispering_hits[0].id}",
        "/?where=x%3D1",
    ):
        page.goto(path)
        found = axe.run(page).response["violations"]
        assert not found, [(path, each["id"], each["nodes"][0]["html"]) for each in found]
    context.close()


def test_narrow_screens(browser, address):
    context = new_context(browser, address, viewport={"width": 390, "height": 844})
    page = context.new_page()
    for path in ("/", "/?captions=a+sad+woman&not=shouting", "/map", "/status", "/help"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    context.close()


@pytest.fixture(scope="module")
def browser(demo_archive):
    """A Chromium without a window, whose microphone hears a voice."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright comes with the test extra")
    chromium = find_chromium()
    if chromium is None:
        pytest.skip(f"there is no Chromium on this machine: {WAY}")
    flags = (
        "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
        "--disable-sync --autoplay-policy=no-user-gesture-required --use-fake-device-for-media-stream "
        f"--use-fake-ui-for-media-stream --use-file-for-fake-audio-capture={min(demo_archive.glob('*.wav'))}"
    )
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=flags.split(), timeout=1000 * PATIENCE)
        yield opened
        opened.close()


def new_context(browser, address, **options):
    """Create a browser context with a long timeout."""
    context = browser.new_context(base_url=address, **options)
    context.set_default_timeout(1000 * PATIENCE)
    return context


@pytest.fixture
def page(browser, address):
    context = new_context(browser, address, viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None)
    page.on("response", lambda answer: errors.append(answer.url) if answer.status in (404, 500) else None)
    yield page
    assert errors == []
    context.close()


def wait_until(page, expression: str) -> bool:
    """Wait until an expression is true; the page's content security policy forbids page.wait_for_function."""
    return until(lambda: page.evaluate(expression))


def is_playing(page) -> bool:
    return wait_until(page, "document.querySelector('.clip.playing') !== null")


def test_search_play_and_download(page):
    page.goto("/")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("a whispering woman")
    page.keyboard.press("Enter")
    page.wait_for_selector(".clip")
    page.wait_for_load_state()
    page.evaluate("player.loop = true")  # plays until it is stopped
    assert "captions=a+whispering+woman" in page.url and "group_by" not in page.url
    assert "dora" in page.locator(".clip .recording").first.inner_text()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press(" ")
    assert is_playing(page) and page.locator(".clip.current.playing").count() == 1
    wait_until(
        page, "document.querySelector('.clip.current canvas').getContext('2d').getImageData(0, 0, 600, 88).data.some(Boolean)"
    )
    page.keyboard.press(" ")
    wait_until(page, "document.querySelector('.clip.playing') === null")
    page.locator(".clip .wave").nth(2).click(position={"x": 100, "y": 20})
    assert is_playing(page)
    page.keyboard.press("a")
    page.keyboard.press("k")
    page.keyboard.press("a")
    names = page.locator("#playlist li a")
    assert names.count() == 2
    before = names.all_inner_texts()
    page.locator("#playlist li button", has_text="↓").first.click()
    assert names.all_inner_texts() == before[::-1]
    with page.expect_download() as download:
        page.locator("[data-take=zip]").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 2
    page.reload()
    assert names.count() == 2


def test_feedback_facets_and_links(page):
    page.goto("/?captions=a+voice")
    page.keyboard.press("Escape")
    first = page.locator(".clip").first.get_attribute("data-id")
    page.keyboard.press("j")
    page.keyboard.press("l")
    page.wait_for_url(f"**liked={first}*")
    assert page.locator(".clip [data-act=liked].chosen").count() == 1
    page.locator(".facets a", has_text="male").nth(1).click()
    page.wait_for_url("**where=*")
    assert page.locator(".facets .chosen").count() == 1 and page.locator(".parts .part").count() == 2
    page.locator(".parts .part", has_text="gender").click()
    page.wait_for_url(lambda url: "where=" not in url)
    assert page.locator(".parts .part").count() == 1
    page.keyboard.press("j")
    page.keyboard.press("m")
    page.wait_for_url("**/?like=*")
    assert page.locator(".clip").count() > 1
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/clips/*")
    assert page.locator("main audio").count() == 1 and page.locator(".clip.current").count() == 1


def test_upload_and_record_sounds(page, demo_archive):
    path = next(demo_archive.glob("edgar*.opus"))
    # messages stay visible
    page.add_init_script("setTimeout = ((later) => (call, wait) => wait > 5000 ? 0 : later(call, wait))(setTimeout)")
    page.goto("/")
    page.set_input_files("#file", path)
    page.wait_for_url("**like=sound*")
    assert "edgar" in page.locator(".clip .recording").first.inner_text()
    page.set_input_files("#file", {"name": "x.wav", "mimeType": "audio/wav", "buffer": b"no sound"})
    page.wait_for_selector("#said:not([hidden])")
    wait_until(page, "document.querySelector('#said').textContent.includes('cannot be used')")
    page.goto("/")
    page.click("#record")
    page.wait_for_selector("#record.chosen")
    page.wait_for_timeout(1200)
    page.click("#record")
    page.wait_for_url("**like=sound*")
    assert page.locator(".clip").count() > 1


def test_map(page, clip_count):
    page.goto("/map")
    wait_until(page, "document.querySelector('#method').textContent.includes('clips, ')")
    wait_until(page, "document.querySelector('#points').getContext('2d').getImageData(0, 0, 1200, 400).data.some(Boolean)")
    central = """() => {
        const far = (i) => Math.hypot(map.x[i] - 32768, map.y[i] - 32768);
        const i = map.x.map((_, place) => place).sort((a, b) => far(a) - far(b))[0];
        return toScreen(map.x[i], map.y[i]);
    }"""
    x, y = page.evaluate(central)  # of a clip with room around it
    box = page.locator("#over").bounding_box()
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.wait_for_selector("#pointed a")
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + x - 60, box["y"] + y - 60)
    page.mouse.down()
    for dx, dy in ((60, -60), (60, 60), (-60, 60)):
        page.mouse.move(box["x"] + x + dx, box["y"] + y + dy, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_url("**region=*")
    assert 0 < page.locator(".clip").count() < clip_count
