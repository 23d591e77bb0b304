"""Requests to a Qdrant server, or to the nodes of a cluster: repeated while they are away, refused in a sentence."""

import json
import re
import ssl
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, TypeVar

import httpx
import tenacity
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from indexer.store.addresses import as_address
from indexer.store.base import StoreError

REQUEST_SECONDS = 60.0
"""After which a request is given up, and made again: a busy server may take long over a portion of clips."""
PROBE_SECONDS = 2.0
"""After which a server that says nothing to a mere greeting is taken to be away."""
IDLE_SECONDS = 2.0
"""After which a server is greeted again before it is asked: one that hangs takes a request and never answers it."""
LONGEST_PAUSE = 5.0
"""Seconds between two tries."""
THEN = "Then run the same command again; what is stored is kept."

KIND_OF_ERROR = re.compile(r"^(Bad request|Wrong input|Service internal error|Service runtime error|Not found|Forbidden)[:!] *")
"""How the server's messages begin."""
NO_SUCH_NAME = re.compile(r"Name or service not known|nodename nor servname|No address associated|getaddrinfo failed")
"""What systems say of a host that the name service does not know."""

Answer = TypeVar("Answer")
Wait = Callable[[str | None], object]


@dataclass(frozen=True)
class Refusal:
    """Why a request had no answer. pause: seconds after which it may have one; None where the same request never will."""

    sentence: str
    pause: float | None = None


class Connection:
    """The nodes of a Qdrant server, of which the first that answers is asked.

    Args:
        clients: one for each node.
        urls: their addresses, as they are shown; () for clients that have none.
        has_key: whether the clients show a key.
        patience: seconds for which a server that is away, starting or busy is waited for.
        on_wait: called before each pause with what is waited for, and with None when there is an answer again.
    """

    def __init__(
        self,
        clients: Sequence[QdrantClient],
        urls: Sequence[str] = (),
        has_key: bool = False,
        patience: float = 0.0,
        on_wait: Wait = lambda reason: None,
    ) -> None:
        self._nodes = list(zip(clients, urls or [""] * len(clients), strict=True))
        self._turns = cycle(range(len(self._nodes)))
        self._node = next(self._turns)
        self._has_key, self._patience, self._on_wait = has_key, patience, on_wait
        is_secure = any(url.startswith("https") for url in urls)
        self._greeter = httpx.Client(timeout=PROBE_SECONDS, verify=is_secure) if urls else None
        self._answered: float | None = None
        self._has_answered = False
        self.version = ""

    @property
    def url(self) -> str:
        """The address of the node that is asked now."""
        return self._nodes[self._node][1]

    def ask(self, request: Callable[[QdrantClient], Answer]) -> Answer:
        """What a request answers; it is made again while the server is away, elsewhere if there are other nodes.

        Raises:
            StoreError: it was refused, or the server stayed away.
        """
        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: self._refusal(error).pause is not None),
            wait=self._pause,
            stop=tenacity.stop_before_delay(self._patience),
            before_sleep=self._wait,
            reraise=True,
        )
        try:
            answer = tries(self._try, request)
        except FAILURES as error:
            raise StoreError(self._refusal(error).sentence) from error
        if tries.statistics["attempt_number"] > 1:
            self._on_wait(None)
        return answer

    def close(self) -> None:
        """Lets go of all nodes."""
        for client, _ in self._nodes:
            client.close()
        if self._greeter:
            self._greeter.close()

    def _try(self, request: Callable[[QdrantClient], Answer]) -> Answer:
        if self._answered is None or time.monotonic() - self._answered > IDLE_SECONDS:
            self._greet()
        client, _ = self._nodes[self._node]
        answer = request(client)
        self._answered, self._has_answered = time.monotonic(), True
        return answer

    def _greet(self) -> None:
        """Notes the version of the server, if it tells it; raises httpx.TransportError where it does not answer."""
        if self._greeter:
            told = self._greeter.get(self.url)
            if told.is_success and told.headers.get("content-type", "").startswith("application/json"):
                self.version = str(told.json().get("version", ""))

    def _pause(self, attempt: tenacity.RetryCallState) -> float:
        """Seconds until the next try: none while there are nodes that were not asked yet."""
        if attempt.attempt_number % len(self._nodes):
            return 0.0
        asked = self._refusal(attempt.outcome.exception()).pause if attempt.outcome else 0.0
        rounds = attempt.attempt_number // len(self._nodes)
        return asked or min(LONGEST_PAUSE, 0.2 * 2 ** min(rounds, 10))

    def _wait(self, attempt: tenacity.RetryCallState) -> None:
        """Turns to the next node, and says what is waited for."""
        error = attempt.outcome.exception() if attempt.outcome else None
        sentence = self._refusal(error).sentence if error else ""
        self._node, self._answered = next(self._turns), None
        if attempt.upcoming_sleep:
            waited = attempt.seconds_since_start or 0.0
            self._on_wait(f"{sentence.partition('. ')[0].rstrip('.')}: waiting, {waited:.0f} of {self._patience:.0f} s")

    def _refusal(self, error: BaseException | None) -> Refusal:
        """Why a request failed, in a sentence that says what to do."""
        server = f"The Qdrant server at {self.url}" if self.url else "The Qdrant server"
        if isinstance(error, ResourceExhaustedResponse):
            again = f"{server} allows no more requests just now (rate limit)"
            return Refusal(f"{again}: try again in {error.retry_after_s} s.", max(0.1, float(error.retry_after_s)))
        if isinstance(error, UnexpectedResponse):
            return self._refused(server, error.status_code or 0, _message(error))
        causes = list(_causes(error))
        if any(isinstance(cause, httpx.TransportError) for cause in causes):
            return self._unreached(server, causes)
        reason = str(causes[-1]).strip().partition("\n")[0] if causes else ""
        return Refusal(f"{server} gave an answer that is not Qdrant's ({reason}). See that the address is right (--url).")

    def _refused(self, server: str, status: int, message: str) -> Refusal:
        said = f" ({message})" if message else ""
        if status == 401:
            key = "does not accept the key that it was shown" if self._has_key else "asks for a key"
            return Refusal(f"{server} {key}: give its key with --api-key, or in VOXDEX_API_KEY.")
        if status == 403:
            return Refusal(f"{server} does not allow this with the key that it was shown{said}: give one that may (--api-key).")
        if status == 404 and re.search(r"(?i)collection .*(doesn't exist|not found)", message):
            gone = "another process has replaced or deleted it: run the same command again"
            return Refusal(f"{server} no longer has the collection{said}; {gone}.")
        if status in (404, 405) or (not message and status < 500):
            return Refusal(f"{server} does not answer as Qdrant does (status {status}). See that the address is right (--url).")
        if re.search(r"(?i)no space left|disk space|disk is full", message):
            return Refusal(f"The disk of the Qdrant server at {self.url} is full. Make room there. {THEN}")
        if status in (408, 425, 429, 500, 502, 503, 504):
            return Refusal(f"{server} is not ready{said or f' (status {status})'}. Wait until it is. {THEN}", 0.0)
        return Refusal(f"{server} refuses this{said}. {_advice(message)}")

    def _unreached(self, server: str, causes: list[BaseException]) -> Refusal:
        told = " ".join(map(str, causes))
        secure = self.url.startswith("https")
        if "CERTIFICATE_VERIFY_FAILED" in told or any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            own = "if it has one of your own, name the file of its authority in SSL_CERT_FILE"
            return Refusal(f"The certificate of {server[0].lower()}{server[1:]} is not trusted: {own}.")
        if secure and re.search(r"WRONG_VERSION_NUMBER|RECORD_LAYER|UNKNOWN_PROTOCOL|HTTP_REQUEST", told.upper()):
            return Refusal(f"{server} does not speak https: write its address as http://.")
        if not secure and re.search(r"illegal request line|illegal status line|Invalid HTTP", told):
            return Refusal(f"{server} does not speak plain http: write its address as https://.")
        is_nameless = NO_SUCH_NAME.search(told) is not None
        if is_nameless and not self._has_answered:
            return Refusal(f"{server} cannot be found (no machine has that name). See that the address is right (--url).")
        reason = "it says nothing" if any(isinstance(cause, httpx.TimeoutException) for cause in causes) else _plain(causes)
        seen_to = "See that it runs, and that the address is right (--url)"
        return Refusal(f"{server} does not answer ({reason}). {seen_to}. {THEN}", 0.0)


FAILURES = (ApiException, QdrantException, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError)
"""What qdrant-client raises where a request has no answer."""


def connect(
    urls: str | Sequence[str],
    api_key: str | None = None,
    patience: float = 0.0,
    on_wait: Wait = lambda reason: None,
    seconds: float = REQUEST_SECONDS,
) -> Connection:
    """A connection to a server, or to the nodes of a cluster.

    Args:
        urls: http://HOST:6333, or several; http:// and the port may be left out.
        api_key: the server's key, or a token.
        patience, on_wait: see Connection.
        seconds: after which one request is given up.

    Raises:
        StoreError: an address is none, or the key has characters that no request carries.
    """
    addresses = [as_address(url) for url in ([urls] if isinstance(urls, str) else urls)]
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise StoreError("The key for the Qdrant server has characters that no request carries: copy it again.")
    settings: dict[str, Any] = {"timeout": int(seconds), "prefer_grpc": False, "check_compatibility": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a key without https; see addresses.is_exposed
        clients = [QdrantClient(url=address, api_key=api_key, **settings) for address in addresses]
    return Connection(clients, addresses, bool(api_key), patience, on_wait)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came of."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.source if isinstance(error, ResponseHandlingException) else error.__cause__ or error.__context__


def _plain(causes: Sequence[BaseException]) -> str:
    """What the system says of a connection that came to nothing."""
    system = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), None)
    return system or str(causes[0]).strip().partition("\n")[0] or type(causes[-1]).__name__


def _message(error: UnexpectedResponse) -> str:
    """What the server says of a request that it refuses, without what the status says already."""
    try:
        found = json.loads(error.content)
        text = found["status"]["error"] if isinstance(found["status"], dict) else found["error"]
    except (ValueError, TypeError, KeyError):
        text = error.content.decode("utf-8", "replace")
        if "<" in text or len(text) > 300:  # the page of another server
            return ""
    said, _, _ = KIND_OF_ERROR.sub("", str(text)).partition("Help:")
    return re.sub(r"\s+", " ", said).strip().rstrip(".")


def _advice(message: str) -> str:
    if re.search(r"(?i)limit|index required|strict|exceed|not allowed", message):
        return "It is a limit that the server sets for this collection (strict mode): ask for less, or let it be raised there."
    return "See that the server's version fits (voxdex status names both)."
