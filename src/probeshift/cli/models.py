"""`probeshift models` and `probeshift models check`."""

from __future__ import annotations

from typing import Annotated, Any, no_type_check

import typer

from probeshift.cli.console import print_json, print_table, say

app = typer.Typer(help="Language models: what the short names mean, and whether a model can be read.")

Name = Annotated[str, typer.Argument(help="A short name, hub id, local folder or .gguf file.")]
Text = Annotated[str | None, typer.Option("--text", help="Show how the model reads this text, token by token.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
OwnCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run the code that comes with the model.")]
System = Annotated[str | None, typer.Option("--system", help="System message before the text.")]
Options = Annotated[
    list[str] | None, typer.Option("--template-kwargs", help="Chat template option, name=value; repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@app.callback(invoke_without_command=True)
@no_type_check  # typer hands over the parent class of the Context it wants named here
def short_names(context: typer.Context, as_json: AsJson = False) -> None:
    """List the short names, what they stand for, and whether the model is on this machine.

    Example: probeshift models
    """
    if context.invoked_subcommand:
        return
    from probeshift.models.names import SHORT_NAMES, is_here

    rows = [(name, place, is_here(name)) for name, place in SHORT_NAMES.items()]
    if as_json:
        return print_json({"models": [{"name": n, "location": p, "here": h} for n, p, h in rows]})
    print_table("Short names", ("name", "stands for", "here"), [(n, p, "yes" if h else "no") for n, p, h in rows])
    say("Any hub id (organisation/model), local folder or .gguf file works too.")


@app.command()
def check(
    name: Name,
    text: Text = None,
    system: System = None,
    template_kwargs: Options = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    trust_remote_code: OwnCode = False,
    as_json: AsJson = False,
) -> None:
    """Load a model and prove that its layers can be read: hooks against its own hidden states.

    Example: probeshift models check smollm2-135m --text "The city of Paris is in France."
    """
    from probeshift.models.names import resolve

    resolve(name)  # a slip in the name is told before anything heavy is loaded

    from probeshift.experiments.positions.extract import template_options
    from probeshift.models.describing import describe
    from probeshift.models.loading import load_model
    from probeshift.models.post_instruction import mark_tokens

    info = describe(name, trust_remote_code=trust_remote_code)
    model = load_model(info, dtype=dtype, device=device, check=False)
    facts = _facts(model)
    options = template_options(template_kwargs or ())
    rows = mark_tokens(model.tokenizer, text, system=system, **options) if text is not None else []
    if as_json:
        tokens = [{"index": r.index, "id": r.id, "token": r.token, "marks": list(r.marks)} for r in rows]
        return print_json({**facts, **({"tokens": tokens} if text is not None else {})})
    for key, value in facts.items():
        print(f"{key.replace('_', ' '):<24} {_shown(value)}")
    if text is not None:
        shown = [(str(r.index), str(r.id), r.token, ", ".join(r.marks)) for r in rows]
        print_table("Tokens", ("index", "id", "token", "marks"), shown)


def _facts(model: Any) -> dict[str, Any]:
    """What `check` prints about a `LanguageModel`, in order."""
    from dataclasses import asdict

    from probeshift.models.describing import parameter_counts, template_hash, tokenizer_hash, weight_hash
    from probeshift.models.parity import check_parity
    from probeshift.models.post_instruction import find_post_instruction

    info, post = model.info, find_post_instruction(model.tokenizer)
    return {
        "name": info.name,
        "location": info.location,
        "revision": info.revision,
        "family": info.model_type,
        "causal": info.causal,
        "layers": info.n_layers,
        "d_model": info.d_model,
        "vocabulary": info.vocab_size,
        "max_tokens": info.max_tokens,
        "parameters": asdict(parameter_counts(info)),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "attention": model.attention,
        "chat_template": template_hash(model.tokenizer),
        "post_instruction_tokens": {"ids": list(post.ids), "tokens": list(post.tokens)} if post else None,
        "weight_hash": weight_hash(info),
        "tokenizer_hash": tokenizer_hash(model.tokenizer),
        "parity": asdict(check_parity(model)),
    }


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
