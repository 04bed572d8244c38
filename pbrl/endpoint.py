"""Any OpenAI-compatible endpoint of chat completions: llama.cpp, Ollama, vLLM here, or a service elsewhere."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pbrl.checks import between, positive
from pbrl.errors import UserError, one_line

LOOPBACK = "http://127.0.0.1:8080/v1"  # where llama.cpp's server listens
MOST_BYTES = 2**22  # of a reply
HERE = ("127.0.0.1", "localhost", "::1")  # never asked through a proxy


@dataclass(frozen=True)
class Endpoint:
    """Answers lists of messages.

    Args:
        base_url: without /chat/completions.
        model: as the server calls it.
        key_env: the environment variable that has the key, where one is needed; a key is never in a config.
        temperature, timeout_s: of each request.
    """

    model: str
    base_url: str = LOOPBACK
    key_env: str | None = None
    temperature: float = 1.0
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("model=None: give the name that the server has for it")
        if urlsplit(self.base_url).scheme not in ("http", "https") or not urlsplit(self.base_url).netloc:
            raise ValueError(f"base_url={self.base_url}: expected an address, as {LOOPBACK}")
        between(0, 10, temperature=self.temperature)
        positive(timeout_s=self.timeout_s)
        if self.key_env is not None:
            if not (key := self._key()):
                raise ValueError(f"key_env={self.key_env}: this environment variable is not set")
            if not (key.isascii() and key.isprintable()):
                raise ValueError(f"key_env={self.key_env}: this environment variable has characters that no key has")

    def _key(self) -> str:
        """Return the key of the endpoint, which is never part of a message."""
        return os.environ.get(self.key_env or "", "").strip()

    def chat(self, messages: list[dict[str, Any]]) -> str:
        """Return the text of the reply. UserError: there is no server, it says no, or it answers in another form."""
        body = json.dumps({"model": self.model, "messages": messages, "temperature": self.temperature}).encode()
        address = f"{self.base_url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        if self.key_env is not None:  # for this server alone, not for one that it sends us on to
            request.add_unredirected_header("Authorization", f"Bearer {self._key()}")
        try:
            here = urlsplit(self.base_url).hostname in HERE
            proxies: dict[str, str] | None = {} if here else None  # None: those of the environment
            opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
            with opener.open(request, timeout=self.timeout_s) as reply:
                content = json.loads(reply.read(MOST_BYTES))
        except urllib.error.HTTPError as error:
            said = error.read(2000).decode(errors="replace")
            raise UserError(f"{self.base_url} answers {error.code}: {one_line(Exception(said))[:200]}") from None
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            raise UserError(f"{self.base_url}: {one_line(error)}; is a server of {self.model} running there?") from None
        try:
            text = content["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise UserError(f"{self.base_url} did not answer as an OpenAI-compatible server does")
        return text
