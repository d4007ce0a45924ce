"""`mvqlab explore`: the page of the widgets, served by Voila to this machine.

A kernel is freed when its page is left, there are few, and none for another site.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.web import HTTPError
from traitlets import Integer
from traitlets.config import Config
from voila.app import Voila

from mvqlab.widgets.page import CELL, voila_arguments, write_notebook

MOST_PAGES = 8  # open at once; a kernel takes up to 0.7 GB
SECONDS_ALONE = 35  # until a kernel that nobody is connected to is shut down
SECONDS_BETWEEN_LOOKS = 5
PING_EVERY, PING_PATIENCE = 5_000, 15_000  # milliseconds: a browser that died closes nothing
TEMPLATES = Path(__file__).parent / "templates"
# whatever a page or a widget on it may ask for, a browser asks this server alone
SAME_HOST = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
TRIES, PAUSE = 100, 0.1  # a new page waits for one that is just being left; its kernel has 5 s to end


def explore(
    port: int = 8866, opens_browser: bool = True, has_token: bool = True, most: int = MOST_PAGES
) -> None:
    """Serve the widgets on 127.0.0.1 until Ctrl-C; every visitor has a kernel of their own.

    port: the first that is tried. has_token: whether the address that is printed holds a secret without
    which nobody gets in, as with Jupyter. most: pages that may be open at once.
    """
    with TemporaryDirectory(prefix="mvqlab-") as folder:
        notebook = write_notebook(Path(folder), CELL)
        arguments = voila_arguments(notebook, port, opens_browser, has_token)
        LocalPage.launch_instance(argv=arguments, config=settings_of_pages(most))


class LocalPage(Voila):
    """Voila, whose own page would fetch icons from another host; ours comes first, and theirs serve it."""

    def setup_template_dirs(self) -> None:
        """Look for templates in our folder before Voila's."""
        super().setup_template_dirs()
        self.template_paths.insert(0, str(TEMPLATES))


class PageKernels(AsyncMappingKernelManager):
    """A kernel for each open page, `most` of them; idle ones are counted from when their page was left."""

    most = Integer(MOST_PAGES, min=1, config=True, help="pages that may be open at once")
    _n_starting = 0

    async def start_kernel(self, **settings: Any) -> str:  # type: ignore[override]
        """Start a kernel where there is room. Raises HTTPError 503, which the visitor sees as a page.

        A page that is reloaded asks for its new kernel while the old one still ends: that is waited for.
        """
        for _ in range(TRIES):
            if self._has_room():
                break
            await asyncio.sleep(PAUSE)
        else:
            pages = "1 page is" if self.most == 1 else f"{self.most} pages are"
            words = f"{pages} open, and no more may be: close one and reload, or start mvqlab explore --pages"
            raise HTTPError(503, reason=f"{words} {self.most + 1}")
        self._n_starting += 1
        try:
            return await super().start_kernel(**settings)
        finally:
            self._n_starting -= 1

    def _has_room(self) -> bool:
        return len(self) + self._n_starting < self.most

    def notify_disconnect(self, kernel_id: str) -> None:
        """A page is gone: from now on its kernel is alone, and a lost connection has time to come back."""
        super().notify_disconnect(kernel_id)
        if kernel_id in self:
            kernel: Any = self.get_kernel(kernel_id)
            kernel.last_activity = type(kernel.last_activity).now(kernel.last_activity.tzinfo)


def refuse_other_sites(handler: JupyterHandler, **_: object) -> None:
    """Voila's hook before a kernel starts: a page is opened by a person, not by a script or frame elsewhere.

    Raises HTTPError 403. Programs that are no browser send neither header, and are let in.
    """
    headers = handler.request.headers
    opened_as, origin = headers.get("Sec-Fetch-Dest", "document"), headers.get("Origin")
    if opened_as != "document" or (origin is not None and urlsplit(origin).netloc != handler.request.host):
        raise HTTPError(403, reason="Open this page by its address: other sites may not fetch or frame it")


def settings_of_pages(most: int = MOST_PAGES, seconds_alone: int = SECONDS_ALONE) -> Config:
    """What Voila is told about kernels and visitors.

    The page's farewell, by which its kernel ends at once, carries no XSRF token and would be refused. Without
    that check a request that changes something still needs a kernel's secret id and, as before, our Origin.
    A page asks no other host (`SAME_HOST`), and no visitor chooses a template that would.
    A Host that is neither localhost nor a loopback address is a name that somebody pointed here: refused.
    """
    settings = Config()
    settings.Voila.tornado_settings = {
        "allow_remote_access": False,
        "disable_check_xsrf": True,
        "headers": {"Content-Security-Policy": SAME_HOST},
        "ws_ping_interval": PING_EVERY,
        "ws_ping_timeout": PING_PATIENCE,
    }
    settings.VoilaConfiguration.multi_kernel_manager_class = PageKernels
    settings.VoilaConfiguration.allow_template_override = "NO"
    settings.VoilaConfiguration.prelaunch_hook = refuse_other_sites
    settings.PageKernels.most = most
    settings.PageKernels.cull_idle_timeout = seconds_alone
    settings.PageKernels.cull_interval = SECONDS_BETWEEN_LOOKS
    return settings
