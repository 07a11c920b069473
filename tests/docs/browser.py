"""A headless Chromium without a network, for the tests of the built pages."""

import json
import shutil
import tempfile
from contextlib import contextmanager

WIDTHS = (390, 1280)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@contextmanager
def browser():
    """A driver whose console and network are recorded; its profile is thrown away."""
    from selenium import webdriver  # noqa: PLC0415  optional

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        driver = webdriver.Chrome(options=options, service=service)
        driver.set_page_load_timeout(60)
        driver.execute_cdp_cmd("Network.enable", {})
        try:
            yield driver
        finally:
            driver.quit()


def resize(driver, width):
    """Lay the page out for a screen of this width in CSS pixels."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def complaints(driver):
    """Errors on the console, requests that failed, and requests that left the disk; the logs are emptied."""
    found = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    for entry in driver.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.loadingFailed":
            found.append(f"failed: {event['params'].get('errorText')}")
        if event["method"] == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "chrome:")):  # the last: its own first tab
                found.append(f"left the disk: {url}")
    return found
