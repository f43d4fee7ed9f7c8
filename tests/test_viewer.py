"""The page of `predict --html`: its data read back, and the page itself in headless Chromium."""
import base64
import io
import json
import pathlib
import re
import shutil
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from helpers import DATA, needs_shared
from tfdepth.checks import UserError
from tfdepth.data import images
from tfdepth.evaluation.plots import colour_depth
from tfdepth.prediction.viewer import ViewerFrame, write_viewer
from viewer_page import Page, read_depth

SIZE = (72, 110)
INTRINSICS = np.array([[80.0, 0, 47.3], [0, 95.0, 30.6], [0, 0, 1]])
RED, GREEN = (220, 30, 30), (40, 160, 70)
HOSTILE = '<script>alert(1)</script> & "quoted".png'
RANGE = (0.05, 0.5)
BACKGROUND = (0x10, 0x13, 0x17)


# The scene: a slanted green plane, and before it a red square, in a world that is not the first
# camera.
PLANE_NORMAL, PLANE_OFFSET = np.array([0.25, -0.35, 1.0]), 9.0
SQUARE_DEPTH, SQUARE_HALF = 3.0, 0.6


def world_from_camera():
    """[3, 4, 4]: the camera moves and turns about all axes."""
    matrices = np.tile(np.eye(4), [3, 1, 1])
    for k, matrix in enumerate(matrices):
        a, b, c = 0.05 + 0.02 * k, -0.03 + 0.04 * k, 0.02 * k
        about_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
        about_y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
        about_z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
        matrix[:3, :3] = np.array(about_z) @ about_y @ about_x
        matrix[:3, 3] = [0.1 + 0.15 * k, 0.05 * k, -0.2 + 0.3 * k]
    return matrices


def look(camera):
    """(image, depth, is_square) of the scene; camera: world_from_camera [4, 4]."""
    y, x = np.mgrid[:SIZE[0], :SIZE[1]]
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(INTRINSICS).T @ camera[:3, :3].T
    position = camera[:3, 3]
    plane = (PLANE_OFFSET - PLANE_NORMAL @ position) / (rays @ PLANE_NORMAL)
    square = (SQUARE_DEPTH - position[2]) / rays[..., 2]
    hit = (position + square[..., np.newaxis] * rays)[..., :2]
    is_square = (np.abs(hit) < SQUARE_HALF).all(-1)
    depth = np.where(is_square, square, plane).astype(np.float32)
    return np.where(is_square[..., np.newaxis], RED, GREEN).astype(np.uint8), depth, is_square


def scene_frames():
    for k, camera in enumerate(world_from_camera()):
        image, depth, _ = look(camera)
        yield ViewerFrame(f"{k:03d}.png", image, depth, INTRINSICS)


def random_frame(size, name="frame.png", seed=0, depths=(1.0, 90.0)):
    random = np.random.default_rng(seed)
    depth = np.exp(random.uniform(*np.log(depths), size)).astype(np.float32)
    return ViewerFrame(name, random.integers(0, 256, (*size, 3), np.uint8), depth, INTRINSICS)


# ------------------------------------------------------------------------------ what is written


@pytest.mark.parametrize("size, stride, depths", [
    ((37, 52), 1, (1.0, 90.0)), ((29, 800), 2, (0.02, 3.0)), ((1300, 23), 3, (1.0, 5.0)),
    ((640, 3), 1, (5.0, 5.0)), ((21, 17), 1, (1e-6, 1e30))])
def test_depth_is_kept(tmp_path, size, stride, depths):
    frame = random_frame(size, depths=depths)
    write_viewer(tmp_path / "page.html", "A clip", [frame], RANGE)
    found, = Page(tmp_path / "page.html").frames
    depth, rows, columns = read_depth(found)
    assert found["stride"] == stride and max(depth.shape) <= 640
    for places, side in ((rows, size[0]), (columns, size[1])):  # evenly over the whole frame
        assert 0 <= places[0] < stride and side - stride <= places[-1] < side
    tolerance = 0.00051 if depths[1] < 1e9 else 0.00065
    np.testing.assert_allclose(depth, frame.depth[np.ix_(rows, columns)], rtol=tolerance)
    assert found["size"] == list(size)
    np.testing.assert_array_equal(np.reshape(found["intrinsics"], [3, 3]), INTRINSICS)


def test_pictures_and_facts(tmp_path):
    image = np.zeros([200, 1500, 3], np.uint8)
    image[:, 300:, 1], image[:100, :, 2] = 250, 120
    frames = [random_frame((60, 40)), ViewerFrame("b", image, np.ones([200, 1500]), INTRINSICS)]
    poses = world_from_camera()[:2]
    write_viewer(tmp_path / "new" / "page.html", "A clip", frames, RANGE, poses, "metres")
    page = Page(tmp_path / "new" / "page.html")
    sizes = [Image.open(io.BytesIO(base64.b64decode(frame["image"]))).size
             for frame in page.frames]
    assert sizes == [(40, 60), (1280, 171)]
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(page.frames[1]["image"]))))
    assert np.abs(found[20, 1000] - [0, 250, 120.0]).max() < 8
    assert np.abs(found[150, 100] - [0, 0, 0.0]).max() < 8
    facts = page.facts
    assert facts["unit"] == "metres" and facts["inverseDepthRange"] == list(RANGE)
    np.testing.assert_array_equal(np.reshape(facts["worldFromCamera"], [2, 4, 4]), poses)
    palette = np.reshape(facts["palette"], [256, 3])
    inverse = np.linspace(RANGE[0], RANGE[1], 257)[:-1] + 0.5 * (RANGE[1] - RANGE[0]) / 256
    np.testing.assert_array_equal(palette, colour_depth(1 / inverse[np.newaxis], *RANGE)[0])
    write_viewer(tmp_path / "page.html", "A clip", frames, RANGE)
    assert Page(tmp_path / "page.html").facts["worldFromCamera"] is None


@pytest.mark.parametrize("text", [HOSTILE, "</script></title><img src=x onerror=alert(1)>",
                                  "<!-- data -->\n/* code */ <!-- title -->",
                                  "stra\u00dfe \u2028 \U0001f697"])
def test_names_are_text(tmp_path, text):
    write_viewer(tmp_path / "page.html", text, [random_frame((8, 9), text)], RANGE)
    page = Page(tmp_path / "page.html")
    assert page.texts["title"] == page.texts["h1"] == text
    assert [frame["name"] for frame in page.frames] == [text]
    assert [sorted(attributes) for attributes, _ in page.scripts] == [
        ["class", "type"], ["id", "type"], []]
    assert "alert" not in page.scripts[-1][1]


def test_a_name_that_is_no_text(tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    write_viewer(tmp_path / "page.html", name, [random_frame((8, 9), name)], RANGE)
    page = Page(tmp_path / "page.html")
    assert page.texts["h1"] == "caf?.png" and page.frames[0]["name"] == name


def test_nothing_is_fetched(tmp_path):
    write_viewer(tmp_path / "page.html", "A clip", [random_frame((8, 9))], RANGE)
    text = (tmp_path / "page.html").read_text()
    assert set(re.findall(r"\w+://[^\s\"']*", text)) == {"http://www.w3.org/2000/svg"}  # a name
    assert "default-src 'none'; img-src data:;" in text


@pytest.mark.parametrize("arguments, error, message", [
    (dict(frames=[]), ValueError, "must hold a frame or more"),
    (dict(world_from_camera=np.tile(np.eye(4), [3, 1, 1])), ValueError, r"\[2, 4, 4\]"),
    (dict(world_from_camera=np.full([2, 4, 4], np.nan)), UserError, "32 numbers are not"),
    (dict(world_from_camera=np.eye(4)), ValueError, "world_from_camera"),
    (dict(inverse_depth_range=(0.5, 0.5)), ValueError, "low < high"),
    (dict(frames=[random_frame((8, 9)), random_frame((8, 9))._replace(
        depth=np.zeros([8, 9], np.float32), name="bad.png")]), ValueError, "bad.png"),
    (dict(frames=[random_frame((8, 9))._replace(depth=np.ones([9, 8]))]), ValueError, "depth"),
    (dict(frames=[random_frame((8, 9))._replace(intrinsics=np.eye(4))]), ValueError, "intrinsics"),
])
def test_mistakes_leave_the_page_before(tmp_path, arguments, error, message):
    path = tmp_path / "page.html"
    path.write_text("before")
    given = dict(frames=[random_frame((8, 9))] * 2, inverse_depth_range=RANGE)
    with pytest.raises(error, match=message):
        write_viewer(path, "A clip", **{**given, **arguments})
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_memory_does_not_grow_with_the_clip(tmp_path):
    def peak(count):
        tracemalloc.start()
        write_viewer(tmp_path / "page.html", "A clip",
                     (random_frame((200, 300), seed=seed) for seed in range(count)), RANGE)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size
    peak(1)                                     # loads what is imported late
    assert peak(12) < 1.1 * peak(3)


@needs_shared
def test_fifty_frames_are_small(tmp_path):
    """Real frames, with depth like a network's: smooth, with noise of its last layers."""
    folder = DATA / "kitti_odometry" / "sequences" / "06" / "image_0"
    random = np.random.default_rng(3)

    def frames():
        for name in images.image_names(str(folder))[:50]:
            image = images.read_image(str(folder / name))
            coarse = 5 + 30 * random.random((96, 320), np.float32)
            depth = np.asarray(Image.fromarray(coarse).resize(image.shape[1::-1], Image.BILINEAR))
            yield ViewerFrame(name, image, depth, INTRINSICS)
    write_viewer(tmp_path / "page.html", "KITTI", frames(), RANGE)
    assert (tmp_path / "page.html").stat().st_size < 30e6


# ----------------------------------------------------------------------------- in the browser

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs the programs chromium and chromedriver "
    "(Debian: apt-get install chromium chromium-driver)")


class _Browser:
    """Headless Chromium that draws WebGL without a GPU."""

    def __init__(self, folder, *flags):
        webdriver = pytest.importorskip("selenium.webdriver")
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in ("headless=new", "no-sandbox", "disable-gpu", "use-gl=angle",
                     "use-angle=swiftshader", "enable-unsafe-swiftshader", "disable-quic",
                     "disable-dev-shm-usage", "no-first-run", "disable-background-networking",
                     "disable-component-update", "disable-sync", "window-size=1000,1500",
                     f"user-data-dir={folder}", *flags):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(
            options=options, service=webdriver.ChromeService(executable_path=DRIVER))
        self.driver.set_script_timeout(30)

    def open(self, path):
        self.driver.get(pathlib.Path(path).as_uri())
        self.wait_for("tfdepthViewer.ready")

    def wait_for(self, promise):
        """The value of a promise, once what it changed is drawn."""
        return self.driver.execute_async_script(
            "const done = arguments[0], drawn = value => requestAnimationFrame("
            f"() => setTimeout(() => done(value), 50)); Promise.resolve({promise}).then(drawn)")

    def until(self, is_done):
        from selenium.webdriver.support.ui import WebDriverWait
        WebDriverWait(self.driver, 15).until(lambda _: is_done())

    def find(self, name):
        return self.driver.find_element("id", name)

    def cloud(self):
        """The picture of the cloud at rest, uint8 [h, w, 3]."""
        self.wait_for("new Promise(done => setTimeout(done, 250))")
        picture = Image.open(io.BytesIO(self.find("stage").screenshot_as_png))
        return np.asarray(picture.convert("RGB"))

    def act(self):
        from selenium.webdriver import ActionChains
        return ActionChains(self.driver, duration=20)

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")
                if "GPU stall due to ReadPixels" not in entry["message"]]  # of the screenshots


@pytest.fixture(name="browser", scope="module")
def _browser(tmp_path_factory):
    browser = _Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.driver.quit()


@pytest.fixture(name="page", scope="module")
def _page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "a clip #1.html"
    write_viewer(path, "A clip", scene_frames(), RANGE, world_from_camera(), "metres")
    return path


def _is_cloud(picture):
    return np.abs(picture.astype(int) - BACKGROUND).sum(-1) > 40


@needs_chromium
def test_points_are_where_they_were(browser, page):
    browser.open(page)
    for index, camera in enumerate(world_from_camera()):
        _, depth, is_square = look(camera)
        for x, y in ((0, 0), (109, 71), (13, 60), *np.argwhere(is_square)[[0, 40], ::-1]):
            found = browser.wait_for(f"tfdepthViewer.point({index}, {x}, {y})")
            point = depth[y, x] * np.linalg.inv(INTRINSICS) @ [x, y, 1]
            np.testing.assert_allclose(found["camera"], point, rtol=0.001)
            world = np.array(found["world"])
            np.testing.assert_allclose(world, (camera @ [*point, 1])[:3], atol=0.01)
            if is_square[y, x]:
                assert abs(world[2] - SQUARE_DEPTH) < 0.01
            else:
                assert abs(PLANE_NORMAL @ world - PLANE_OFFSET) < 0.02


@needs_chromium
def test_cloud_is_drawn_and_turns(browser, page):
    browser.open(page)
    before = browser.cloud()
    assert _is_cloud(before).mean() > 0.25

    def colour_at(pixel):  # where the page says that it is drawn
        x, y = browser.wait_for(f"tfdepthViewer.project(0, {pixel[0]}, {pixel[1]})")
        return browser.cloud()[round(y), round(x)]
    square = np.argwhere(look(world_from_camera()[0])[2])
    inside, corner = square.mean(0).astype(int)[::-1], (8, 9)
    centre = [None]
    for _ in range(2):  # as it comes up, and turned
        np.testing.assert_allclose(colour_at(inside), RED, atol=25)
        np.testing.assert_allclose(colour_at(corner), GREEN, atol=25)
        centre.append(browser.wait_for("tfdepthViewer.project(0, 8, 9)"))
        browser.act().click_and_hold(browser.find("cloud")).move_by_offset(70, 25).release().perform()
    assert np.hypot(*np.subtract(centre[2], centre[1])) > 10
    turned = browser.cloud()
    assert (np.abs(turned.astype(int) - before).sum(-1) > 60).mean() > 0.02
    browser.act().double_click(browser.find("cloud")).perform()
    assert np.abs(browser.cloud().astype(int) - before).mean() < 1      # as at the start
    browser.act().scroll_from_origin(_origin(browser.find("cloud")), 0, 400).perform()
    assert _is_cloud(browser.cloud()).mean() < 0.8 * _is_cloud(before).mean()
    browser.driver.execute_script("document.getElementById('cloud').focus()")
    browser.act().send_keys("0").pause(0.2).send_keys("d").perform()
    assert (np.abs(browser.cloud().astype(int) - before).sum(-1) > 60).mean() > 0.01
    assert not browser.complaints()


def _origin(element):
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
    return ScrollOrigin.from_element(element)


@needs_chromium
def test_frames_change_and_depth_is_read(browser, page):
    from selenium.webdriver.common.keys import Keys
    browser.open(page)
    before = browser.cloud()
    assert browser.find("place").text == "Frame 1 of 3"
    browser.act().click(browser.find("slider")).perform()               # its middle
    browser.until(lambda: browser.find("place").text == "Frame 2 of 3")
    assert browser.find("name").text == "001.png"
    assert (np.abs(browser.cloud().astype(int) - before).sum(-1) > 60).mean() > 0.01
    y, x = np.argwhere(look(world_from_camera()[1])[2]).mean(0).astype(int)
    right, down = browser.wait_for(f"tfdepthViewer.project(1, {x}, {y})")
    np.testing.assert_allclose(browser.cloud()[round(down), round(right)], RED, atol=25)
    browser.driver.execute_script("document.activeElement.blur()")
    browser.act().send_keys(Keys.ARROW_RIGHT).perform()
    browser.until(lambda: browser.find("place").text == "Frame 3 of 3")
    browser.act().move_to_element_with_offset(browser.find("depth"), 31, -12).perform()
    text = browser.find("reading").text
    x, y, depth = re.fullmatch(r"x (\d+), y (\d+): depth ([\d.]+) metres", text).groups()
    expected = look(world_from_camera()[2])[1][int(y), int(x)]
    assert abs(float(depth) / expected - 1) < 0.006                     # three digits
    area = browser.find("depth").rect
    assert abs((int(x) + 0.5) / SIZE[1] - 0.5 - 31 / area["width"]) < 1.5 / SIZE[1]
    assert abs((int(y) + 0.5) / SIZE[0] - 0.5 + 12 / area["height"]) < 1.5 / SIZE[0]
    browser.act().send_keys(" ").perform()                              # plays, round and round
    browser.until(lambda: browser.find("place").text == "Frame 1 of 3")
    browser.until(lambda: browser.find("place").text == "Frame 2 of 3")
    assert browser.find("play").text == "Pause"
    browser.act().send_keys(" ").perform()
    assert browser.find("play").text == "Play"


@needs_chromium
def test_points_of_all_frames_meet_in_the_world(browser, page):
    browser.open(page)
    left_out = browser.find("count").text
    browser.driver.execute_script(
        "const chosen = document.getElementById('points_of'); chosen.value = '1';"
        "chosen.dispatchEvent(new Event('change'))")
    browser.until(lambda: "left out" in browser.find("count").text)
    # Beside a depth jump there are points of neither surface.
    edges = []
    for camera in world_from_camera():
        square = look(camera)[2]
        edge = np.zeros(SIZE, bool)
        for axis in (0, 1):
            jump = np.diff(square.astype(int), axis=axis) != 0
            for shift in (0, 1):
                edge[tuple((np.argwhere(jump) + shift * np.eye(2, dtype=int)[axis]).T)] = True
        edges.append(int(edge.sum()))
    pixels = SIZE[0] * SIZE[1]
    assert left_out == f"{pixels - edges[0]:,} points, {edges[0]:,} left out"
    assert browser.find("count").text == (
        f"{3 * pixels - sum(edges):,} points, {sum(edges):,} left out")
    # The corner of the square is drawn at one place, whichever camera saw it.
    places = []
    for index, camera in enumerate(world_from_camera()):
        corner = np.linalg.inv(camera) @ [SQUARE_HALF - 0.1, SQUARE_HALF - 0.1, SQUARE_DEPTH, 1]
        x, y, z = INTRINSICS @ corner[:3]
        places.append(browser.wait_for(
            f"tfdepthViewer.project({index}, {round(x / z)}, {round(y / z)})"))
    spread = np.ptp(places, axis=0).max()
    assert spread < 8, places           # half a pixel of the frames is 3 of the cloud
    x, y = np.mean(places, axis=0)
    np.testing.assert_allclose(browser.cloud()[round(y), round(x)], RED, atol=25)
    assert browser.find("plan").is_displayed() and not browser.complaints()


@needs_chromium
def test_one_picture_asks_for_nothing(browser, tmp_path):
    image, depth, _ = look(np.eye(4))
    frame = ViewerFrame(HOSTILE, np.rot90(image), np.rot90(depth), INTRINSICS)
    write_viewer(tmp_path / "page.html", HOSTILE, [frame], RANGE)
    browser.driver.get_log("performance")
    browser.open(tmp_path / "page.html")                # an alert would raise
    assert browser.find("name").text == HOSTILE
    assert not any(browser.find(name).is_displayed() for name in ("transport", "plan", "of"))
    assert _is_cloud(browser.cloud()).mean() > 0.05
    assert browser.find("frame").rect["height"] > browser.find("frame").rect["width"]
    events = [json.loads(entry["message"])["message"]
              for entry in browser.driver.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events
             if event["method"] == "Network.requestWillBeSent"}
    assert (tmp_path / "page.html").as_uri() in asked
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in asked) == 1
    assert not browser.complaints()


@needs_chromium
@pytest.mark.parametrize("limits, labels", [
    ((1 / 40, 1 / 2), ["2", "3", "5", "7", "10", "20"]),
    ((1 / 0.854, 1 / 0.837), ["0.838", "0.845", "0.853"]),  # no round number lies in there
    ((1 / 0.8374, 1 / 0.8370), ["0.837", "0.8372", "0.8374"])])
def test_the_legend_has_numbers(browser, tmp_path, limits, labels):
    write_viewer(tmp_path / "page.html", "Legend", [random_frame((30, 40), "a")], sorted(limits))
    browser.open(tmp_path / "page.html")
    texts = browser.find("legend").text.split()
    assert [text for text in texts if text[0].isdigit()] == labels, texts
    assert not browser.complaints()


@needs_chromium
def test_frames_of_other_sizes(browser, tmp_path):
    frames = [random_frame((60, 40), "a"), random_frame((30, 90), "b", seed=1)]
    write_viewer(tmp_path / "page.html", "Sizes", frames, RANGE)
    browser.open(tmp_path / "page.html")
    shapes = []
    for index in (0, 1):
        browser.wait_for(f"tfdepthViewer.show({index})")
        area = browser.find("depth").rect
        shapes.append(area["width"] / area["height"])
    np.testing.assert_allclose(shapes, [40 / 60, 90 / 30], rtol=0.02)
    assert not browser.complaints()


@needs_chromium
def test_without_webgl(tmp_path, page):
    browser = _Browser(tmp_path / "chromium", "disable-3d-apis")
    try:
        browser.open(page)
        assert "no WebGL" in browser.find("no_cloud").text
        assert browser.find("plan").is_displayed() and not browser.find("cloud").is_displayed()
        browser.wait_for("tfdepthViewer.show(2)")
        assert browser.find("place").text == "Frame 3 of 3"
        assert not browser.find("problem").is_displayed()
    finally:
        browser.driver.quit()
