"""A real browser (Chromium without a window, without a network) that looks at a page and says what it drew."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

_LOOK = """
<pre id="looked"></pre>
<script>
window.addEventListener("load", async () => {
    const found = [];
    for (const image of document.images) {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 64;
        let colours = 0;
        try {
            await image.decode();
            const brush = canvas.getContext("2d");
            brush.drawImage(image, 0, 0, 64, 64);
            colours = new Set(new Uint32Array(brush.getImageData(0, 0, 64, 64).data.buffer)).size;
        } catch (error) { console.log(error); }
        found.push({alt: image.alt, width: image.naturalWidth, height: image.naturalHeight, shown: image.getBoundingClientRect().width, colours});
    }
    document.getElementById("looked").textContent = JSON.stringify({
        title: document.title, images: found, loaded: performance.getEntriesByType("resource").map(one => one.name).filter(one => !one.startsWith("data:"))});
});
</script>
"""


def browser() -> str:
    """:raise AssertionError: none is installed."""
    found = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    assert found, "no browser: install chromium (scripts/test does)"
    return found


def look(page: Path, folder: Path) -> Any:
    """The page's title, its images as they were drawn, and what it loaded beside itself."""
    copy = folder / "looked-at.html"
    text = page.read_text()
    assert "</body>" in text
    copy.write_text(text.replace("</body>", f"{_LOOK}</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=20000", f"--user-data-dir={folder / 'profile'}"]
    ran = subprocess.run(
        ["unshare", "--net", browser(), *options, "--dump-dom", copy.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    said = re.search(r'<pre id="looked">(.+?)</pre>', ran.stdout, re.DOTALL)
    assert said, ran.stderr[-2000:]
    return json.loads(unescape(said[1]))
