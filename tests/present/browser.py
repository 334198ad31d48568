#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Opens the pages that test_page made in headless Chromium, as readers do.

    browser.py PAGES SCREENSHOTS

At 375, 768 and 1,440 pixels, light and dark: no console errors, no requests beyond the page, no horizontal
scrolling, summary, tables and every chart there, no two labels of a chart on each other, text with a
contrast of 4.5:1, copy buttons and the choice of a target at work. Screenshots stay in SCREENSHOTS. Exits 77
(skipped) where Chromium, its driver or selenium is missing, except in CI.
"""
import json
import os
import pathlib
import shutil
import socket
import sys

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service as ChromeService
except ImportError:
    if sys.executable != "/usr/bin/python3" and os.path.exists("/usr/bin/python3"):
        os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])
    webdriver, ChromeService = None, object
for variable in ("http_proxy", "https_proxy", "all_proxy"):  # the driver is on this machine
    os.environ.pop(variable, None)
    os.environ.pop(variable.upper(), None)

WIDTHS = (375, 768, 1440)
# Pairs of labels of one drawing whose boxes meet.
OVERLAPS = """
return Array.from(document.querySelectorAll('svg')).flatMap(function(svg){
  var boxes=Array.from(svg.querySelectorAll('text')).map(function(t){return [t.textContent,t.getBoundingClientRect()]})
    .filter(function(e){return e[1].width>0});
  var found=[];
  boxes.forEach(function(a,i){boxes.slice(i+1).forEach(function(b){
    var w=Math.min(a[1].right,b[1].right)-Math.max(a[1].left,b[1].left);
    var h=Math.min(a[1].bottom,b[1].bottom)-Math.max(a[1].top,b[1].top);
    if(w>1&&h>a[1].height*0.25)found.push(svg.getAttribute('aria-label')+': "'+a[0]+'" and "'+b[0]+'"')})});
  var box=svg.getBoundingClientRect();
  boxes.forEach(function(a){if(a[1].left<box.left-1||a[1].right>box.right+1||a[1].bottom>box.bottom+1)
    found.push(svg.getAttribute('aria-label')+': "'+a[0]+'" leaves the drawing')});
  return found})"""
# [contrast, text] of everything that is written, worst first.
CONTRASTS = """
function rgb(c){var m=c.match(/[\\d.]+/g).map(Number);return m.length>3&&m[3]===0?null:m}
function light(c){var v=c.slice(0,3).map(function(x){x/=255;return x<=0.03928?x/12.92:Math.pow((x+0.055)/1.055,2.4)});
  return 0.2126*v[0]+0.7152*v[1]+0.0722*v[2]}
function behind(e){for(;e;e=e.parentElement){var c=rgb(getComputedStyle(e).backgroundColor);if(c)return c}
  return [255,255,255]}
function fillOf(css){var r=document.querySelector('svg rect.'+css);return rgb(getComputedStyle(r).fill)}
var out=[];
document.querySelectorAll('body *').forEach(function(e){
  var own=Array.from(e.childNodes).some(function(n){return n.nodeType===3&&n.textContent.trim()});
  if(!own||e.tagName==='SCRIPT'||e.tagName==='STYLE'||e.tagName==='title')return;
  var box=e.getBoundingClientRect();if(!box.width)return;
  var style=getComputedStyle(e),svg=e.tagName==='text';
  var ink=rgb(svg?style.fill:style.color),paper=behind(e);
  if(svg&&e.classList.contains('on-full'))paper=fillOf('full');
  if(svg&&e.classList.contains('on-shared'))paper=fillOf('shared');
  var a=light(ink),b=light(paper);
  out.push([(Math.max(a,b)+0.05)/(Math.min(a,b)+0.05),e.textContent.slice(0,40)])});
return out.sort(function(a,b){return a[0]-b[0]}).slice(0,3)"""


def skip(why):
    print(f"SKIPPED: {why}; install chromium, chromium-driver and python3-selenium")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)


class Service(ChromeService):
    """The driver by its address: a bare machine knows no name "localhost"."""

    @property
    def service_url(self):
        return f"http://127.0.0.1:{self.port}"

    def is_connectable(self):
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def start():
    driver = shutil.which("chromedriver")
    if webdriver is None or driver is None or not (shutil.which("chromium") or shutil.which("chromium-browser")):
        skip("no browser")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                     "--font-render-hinting=none", "--remote-debugging-pipe"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(service=Service(driver), options=options)
    browser.set_page_load_timeout(60)
    return browser


class Reader:
    def __init__(self, browser, screenshots):
        self.browser, self.screenshots, self.problems, self.checks = browser, screenshots, [], 0

    def want(self, holds, what):
        self.checks += 1
        if not holds:
            self.problems.append(f"{self.where}: {what}")

    def js(self, script):
        return self.browser.execute_script(script)

    def size(self, width, height=900):
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})

    def open(self, path, width, dark):
        self.where = f"{path.stem} at {width}, {'dark' if dark else 'light'}"
        self.browser.get_log("performance"), self.browser.get_log("browser")
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        self.size(width)
        self.browser.get(path.as_uri())

    def look(self, path, width, dark):
        self.open(path, width, dark)
        self.want(not self.browser.get_log("browser"), "errors on the console")
        requests = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        urls = {r["params"]["request"]["url"] for r in requests if r["method"] == "Network.requestWillBeSent"}
        self.want(urls <= {path.as_uri(), "data:,"}, f"requests: {urls}")
        self.want(self.js("return document.documentElement.scrollWidth") <= width, "it scrolls sideways")
        charts = self.js("return Array.from(document.querySelectorAll('svg')).filter(function(s){"
                         "return s.getBoundingClientRect().width>=Math.min(250,innerWidth-70)}).length")
        expected = {"compare": 1, "glm": 10, "segments": 12, "distilled": 6, "undistilled": 5}.get(path.stem, 8)
        self.want(charts == expected, f"{charts} charts show, {expected} expected")
        tables = self.js("return document.querySelectorAll('table').length")
        expected = {"compare": 2, "distilled": 6, "undistilled": 5}.get(path.stem, 9)
        self.want(tables >= expected, f"{tables} tables")
        overlaps = self.js(OVERLAPS)
        self.want(not overlaps, f"labels: {overlaps[:4]}")
        contrasts = self.js(CONTRASTS)
        self.want(contrasts and contrasts[0][0] >= 4.5, f"contrast: {contrasts}")
        height = min(self.js("return document.documentElement.scrollHeight"), 9000)
        self.size(width, height)
        self.browser.save_screenshot(str(self.screenshots / f"{path.stem}-{width}-{'dark' if dark else 'light'}.png"))

    def point(self, matrix, cells):
        """What a matrix says about the upper right one of its cells."""
        self.js(f"var m=document.querySelector('#{matrix} {cells}').getBoundingClientRect();"
                f"document.querySelector('#{matrix} svg').dispatchEvent(new MouseEvent('mousemove',"
                "{clientX:m.left+m.width*0.999-1,clientY:m.top+1,bubbles:true}))")
        return self.js(f"return document.querySelector('#{matrix}-value').textContent")

    def press(self, place, text):
        """A copy button puts the text next to it on the clipboard."""
        self.browser.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
        button = self.browser.find_element("css selector", place + " button")
        button.click()
        copied = self.browser.execute_async_script(
            "var done=arguments[0];setTimeout(function(){navigator.clipboard.readText().then(done,"
            "function(e){done(String(e))})},300)")
        self.want(copied == text, f"copied {copied!r}")
        self.want(button.text == "copied", "the button does not say so")

    def print_out(self):
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        printed = self.js("return [getComputedStyle(document.body).backgroundColor,"
                          "getComputedStyle(document.querySelector('.copy button')).display,"
                          "getComputedStyle(document.querySelector('svg text')).fill]")
        self.want(printed == ["rgb(255, 255, 255)", "none", "rgb(51, 51, 51)"], f"on paper: {printed}")
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

    def copy(self, path, place):
        """A page without targets."""
        self.open(path, 1440, False)
        self.want(self.js("return document.querySelectorAll('.card .verdict').length") == 1, "one summary")
        self.press(place, self.js(f"return document.querySelector('{place} pre').textContent"))
        self.print_out()

    def use(self, path):
        self.open(path, 1440, False)
        self.want(self.js("return document.querySelectorAll('.card.on .verdict').length") == 1, "one summary")
        first = self.js("return document.querySelector('.card.on .copy pre').textContent")
        self.js("document.querySelector('input[name=target][value=\"0\"]').click()")
        other = self.js("return document.querySelector('.card.on .copy pre').textContent")
        shown = self.js("return Array.from(document.querySelectorAll('.target.on')).every(function(n){"
                        "return n.getAttribute('data-target')==='0'})")
        self.want(first != other and shown, "the choice of a target changes nothing")
        self.press(".card.on .copy", other)
        last = self.js("return document.querySelectorAll('#heatmap-table tbody tr').length-1")
        told = self.point("heatmap", ".cells")
        self.want(told.startswith(f"layers 0 and {last}: 0."), f"the heatmap tells {told!r}")
        if path.stem == "segments":
            told = self.point("triangle", ".area")
            self.want(told == f"layer 0 feeds layers up to {last}: not measured", f"the triangle tells {told!r}")
        self.print_out()


def main():
    pages, screenshots = map(pathlib.Path, sys.argv[1:3])
    screenshots.mkdir(parents=True, exist_ok=True)
    browser = start()
    reader = Reader(browser, screenshots)
    paths = sorted(pages.resolve().glob("*.html"))
    try:
        for path in paths:
            for width in WIDTHS:
                for dark in (False, True):
                    reader.look(path, width, dark)
            if path.stem in ("distilled", "undistilled"):
                reader.copy(path, ".card .copy")
            elif path.stem != "compare":
                reader.use(path)
    finally:
        browser.quit()
    print("\n".join(reader.problems))
    print(f"{len(paths)} pages, {reader.checks} checks, {len(reader.problems)} failed")
    sys.exit(1 if reader.problems or len(paths) < 7 else 0)


if __name__ == "__main__":
    main()
