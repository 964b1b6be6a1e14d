"""The page in a real headless Chromium, the network off: it draws, answers the mouse, asks for nothing."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, need
from reports import HOSTILE, RIGHT_TO_LEFT, troubled

from tests.runs import cpu, make_run, tool
from tracekit.parse.build import build

LIBRARY = ROOT / ".venv" / "share" / "uplot"
SIZES = {"laptop": (1280, 800), "phone": (390, 844)}
CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox"]  # which a container has no right to make


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the run with every trouble, made by the command."""
    need((LIBRARY / "uPlot.js").exists(), "uPlot, the charting library: tools/setup.sh uplot")
    run_dir = troubled(tmp_path_factory.mktemp("page") / "r1")
    done = tool("report.py", str(run_dir))
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    return run_dir / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    need(CHROMIUM, "Chromium (package chromium)")
    with _driver().sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


def _driver() -> Any:
    try:
        from playwright import sync_api  # noqa: PLC0415 - only these tests need it
    except ImportError:
        need(False, "what drives Chromium: tools/setup.sh browser")
    return sync_api


class Opened:
    """A page, and whatever it did that it should not have."""

    def __init__(self, browser: Any, path: Path, size: str = "laptop", scheme: str = "light") -> None:
        width, height = SIZES[size]
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
        )
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("footer")

    def assert_quiet(self, path: Path) -> None:
        assert self.asked == [path.as_uri()]
        assert self.said == []


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[Opened]:
    one = Opened(browser, page_file)
    yield one
    one.assert_quiet(page_file)
    one.context.close()


# The pixels of a canvas, of a copy: reading the canvas itself again and again makes Chromium complain.
PIXELS = """canvas => {
  const empty = new OffscreenCanvas(canvas.width, canvas.height);
  const copy = empty.getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const data = copy.getImageData(0, 0, canvas.width, canvas.height).data;
  const found = {};
  for (let at = 0; at < data.length; at += 4) {
    const colour = "#" + [...data.slice(at, at + 3)].map(one => one.toString(16).padStart(2, "0")).join("");
    if (data[at + 3]) found[colour] = (found[colour] || 0) + 1;
  }
  return found;
}"""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_draws_without_network_error_or_overflow(
    browser: Any, page_file: Path, size: str, scheme: str
) -> None:
    one = Opened(browser, page_file, size, scheme)
    canvases = one.page.query_selector_all("canvas")
    # recorded, four of the host, one of processes, five of requests, placement
    assert len(canvases) == 12
    assert all(len(canvas.evaluate(PIXELS)) > 10 for canvas in canvases)
    wide = one.page.evaluate("document.documentElement.scrollWidth")
    assert wide == SIZES[size][0]  # nothing sticks out to the side
    grounds = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", grounds))) < 64) == (scheme == "dark")
    one.assert_quiet(page_file)
    one.context.close()


def test_no_address_is_in_any_src_or_href(page_file: Path) -> None:
    text = page_file.read_text()
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(src|href)\s*=", markup)
    assert "default-src 'none'" in markup
    assert not re.search(r"""(src|href)\s*[=:]\s*["'`]\w+:""", text)


def test_hostile_names_are_text_and_nothing_else(opened: Opened, page_file: Path) -> None:
    text = page_file.read_text()
    assert text.count("</script>") == 2  # the data's and the script's
    shown = opened.page.inner_text("main")
    assert HOSTILE in shown
    assert RIGHT_TO_LEFT[:30] in shown
    assert opened.page.query_selector("img") is None
    assert opened.page.evaluate("document.scripts.length") == 2


def test_the_cursor_shows_one_time_in_all_charts(opened: Opened) -> None:
    page = opened.page
    page.locator("#hosts .u-over").first.hover(position={"x": 150, "y": 40})
    times = page.evaluate(
        """[...document.querySelectorAll(".panel:has(.plot) .at")].map(one => one.textContent)"""
    )
    told = [time for time in times if re.fullmatch(r"\d\d:\d\d:\d\d UTC", time)]
    assert len(told) == 9  # all but the distributions
    assert len(set(told)) == 1
    assert page.locator("#hosts .legend b").first.inner_text().endswith("%")
    page.mouse.move(2, 2)
    assert "UTC" in page.locator("#hosts .at").first.inner_text()
    assert page.locator("#hosts .legend b").first.inner_text() == ""


def test_dragging_zooms_all_charts(opened: Opened) -> None:
    page = opened.page
    bounds = "live.filter(one => one.chart.scales.x.time).map(one => one.chart.scales.x.min)"
    before = page.evaluate(bounds)
    over = page.locator("#hosts .u-over").first
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 50, steps=5)
    page.mouse.up()
    zoomed = page.evaluate(bounds)
    assert all(now > then + 5 for now, then in zip(zoomed, before, strict=True))
    assert max(zoomed) - min(zoomed) < 1
    over.dblclick()
    assert page.evaluate(bounds) == before


def test_a_click_on_a_slow_trace_opens_its_waterfall(opened: Opened) -> None:
    page = opened.page
    assert "52 ms" in page.inner_text("#waterfall")
    page.locator(".list button").nth(4).click()
    shown = page.inner_text("#waterfall")
    assert "/item/36" in shown
    assert "48 ms = vm1 40 ms, on the way 8 ms" in shown  # 36 + 12; the call and the client's two ms
    assert page.locator("#waterfall .span:not(.axis)").count() == 3
    assert page.locator("#waterfall .on-path").count() == 5
    assert page.locator('.list button[aria-pressed="true"]').inner_text().startswith("/item/36")


def test_gap_clock_step_and_killed_collector_are_seen_at_once(opened: Opened) -> None:
    """In the tiles at the top, in the figure below them by their colours, and in words."""
    page = opened.page
    tiles = page.inner_text(".tiles")
    assert re.search(r"3\s+gaps", tiles)
    assert re.search(r"1\s+clock step", tiles)
    assert re.search(r"1\s+collector ended early", tiles)
    words = page.inner_text("#coverage table")
    for told in ("12 s: restart", "killed by signal 9", "+60 s"):
        assert told in words
    painted = page.query_selector("#coverage canvas").evaluate(PIXELS)
    assert painted.get(page.evaluate('css("--killed")'), 0) > 40
    assert painted.get(page.evaluate('css("--step")'), 0) > 10


def test_lines_break_where_samples_are_missing(opened: Opened) -> None:
    values = opened.page.evaluate("live[1].chart.data[1].filter(one => one === null).length")
    assert values >= 3  # two gaps and the jump of the clock: null, where a slot without a sample is undefined


def test_a_key_hides_its_line(opened: Opened) -> None:
    page = opened.page
    key = page.locator("#hosts .legend button").first
    key.click()
    assert page.evaluate("live[1].chart.series[1].show") is False
    key.click()
    assert page.evaluate("live[1].chart.series[1].show") is True


def test_a_comparison_is_drawn_with_its_verdicts(browser: Any, page_file: Path, tmp_path: Path) -> None:
    shutil.copytree(page_file.parent, tmp_path / "r1")
    told = {"name": f"wait {HOSTILE}", "n": [4, 5], "real": 2.0, "sim": 3.0, "error": 50.0, "gate": 5}
    findings = [{**told, "verdict": "FAIL"}, {**told, "error": 1.0, "verdict": "PASS"}]
    report = {"manifest_sha256": "0" * 64, "verdict": "FAIL", "findings": findings}
    (tmp_path / "r1" / "exports").mkdir()
    (tmp_path / "r1" / "exports" / "verify.json").write_text(json.dumps(report))
    assert tool("report.py", str(tmp_path / "r1")).returncode == 0
    one = Opened(browser, tmp_path / "r1" / "report.html")
    shown = one.page.inner_text("#verified")
    assert "made anew since" in shown
    assert "+50 %" in shown
    wide = [
        one.page.locator(f"#verified .error.{verdict}").bounding_box()["width"]
        for verdict in ("fail", "pass")
    ]
    assert wide[0] == pytest.approx(
        60, abs=1
    )  # the farthest error, on a strip of 120 px with 0 in the middle
    assert wide[1] == pytest.approx(1.2, abs=0.5)
    one.assert_quiet(tmp_path / "r1" / "report.html")
    one.context.close()


def test_a_run_of_which_nothing_is_known_says_so(browser: Any, tmp_path: Path) -> None:
    need((LIBRARY / "uPlot.js").exists(), "uPlot, the charting library: tools/setup.sh uplot")
    run_dir = make_run(tmp_path / "r1", {}, documents={"node_meta.json": None})
    build(run_dir)
    done = tool("report.py", str(run_dir))
    assert done.returncode == 0, done.stderr
    one = Opened(browser, run_dir / "report.html")
    shown = one.page.inner_text("main")
    for sentence in ("No samples of the hosts", "No process rows", "No requests"):
        assert sentence in shown
    assert "NaN" not in shown
    assert "undefined" not in shown
    one.assert_quiet(run_dir / "report.html")
    one.context.close()


def test_a_trace_that_is_not_valid_gives_no_page(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "r1", {"resources.jsonl": [cpu(1000)]})
    build(run_dir)
    with (run_dir / "cctf" / "host_metrics.jsonl").open("a") as stream:
        stream.write("{}\n")
    done = tool("report.py", str(run_dir))
    assert done.returncode == 1
    assert "not valid; `make validate" in done.stderr
    assert not (run_dir / "report.html").exists()
