"""Train a small sparse autoencoder on one layer of a small model, and save it in the SAELens layout.

    python examples/train_small_sae.py --output saes/smollm2-layer14

So that the whole path from text to SAE features runs without a download: 4,096 TopK latents on the output of block 14 of
SmolLM2-135M, on the tokens of the bundled facts, a few minutes on two cores. It is a worked example, not a dictionary of the model.
An SAE leaves out what its training texts do not show: for other texts, train one on such texts (not those it is tested on):

    python examples/train_small_sae.py --table mine.json --table more.csv --output saes/mine
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import embedding_bag

import probeshift as ps
from probeshift.datasets import load_dataset
from probeshift.datasets.reading import read_rows
from probeshift.models import StopForward, record_residuals
from probeshift.provenance import publish

FACTS = (
    "facts_cities_affirmed", "facts_cities_negated", "facts_translations_affirmed", "facts_translations_negated",
    "facts_comparisons", "facts_cities_conj", "facts_cities_disj",
)  # fmt: skip
AT_ONCE = 32  # texts per forward pass
MOST_TOKENS = 256  # of a text; more of fewer texts would show the SAE less


def texts_of(tables: list[Path]) -> list[str]:
    """The `text` column of the tables (csv, tsv, json, jsonl or parquet), or the bundled facts; each text once."""
    if tables:
        return list(dict.fromkeys(str(row["text"]) for path in tables for row in read_rows(path)))
    return list(dict.fromkeys(row.text for name in FACTS for row in load_dataset(name).statements))


def token_states(model: ps.LanguageModel, texts: list[str], layer: int) -> Tensor:
    """Output of the block at every token but special ones: [token, d_model], float32."""
    found: list[Tensor] = []
    for start in range(0, len(texts), AT_ONCE):
        batch = model.tokenizer(
            texts[start : start + AT_ONCE],
            return_tensors="pt",
            padding=True,
            padding_side="right",
            truncation=True,
            max_length=MOST_TOKENS,
            return_special_tokens_mask=True,
        )
        own = batch["attention_mask"].bool() & ~batch["special_tokens_mask"].bool()
        with (
            torch.inference_mode(),
            record_residuals(model.blocks, [layer], lambda _, h, own=own: found.append(h[own].float())),
        ):
            with suppress(StopForward):
                model.backbone(
                    input_ids=batch["input_ids"].to(model.device),
                    attention_mask=batch["attention_mask"].to(model.device),
                )
    return torch.cat(found)


def normalised(states: Tensor) -> Tensor:
    """Every token at norm sqrt(d_model): a model's first tokens are hundreds of times larger than the others."""
    return states * (states.shape[1] ** 0.5 / states.norm(dim=1, keepdim=True))


def train(states: Tensor, *, n_latents: int, k: int, steps: int, batch: int, seed: int) -> dict[str, Tensor]:
    """TopK autoencoder by Adam on the squared error, decoder rows at norm 1 (Gao et al. 2024); SAELens names of tensors."""
    generator = torch.Generator().manual_seed(seed)
    decoder = torch.randn(n_latents, states.shape[1], generator=generator)
    decoder /= decoder.norm(dim=1, keepdim=True)
    made = {"W_enc": decoder.T.clone(), "b_enc": torch.zeros(n_latents), "W_dec": decoder, "b_dec": states.mean(0)}
    for values in made.values():
        values.requires_grad_(True)
    optimiser = torch.optim.Adam(made.values(), lr=1e-3, fused=True)
    spread = (states - states.mean(0)).pow(2).mean()
    start = time.perf_counter()
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 1e-3 * min(1.0, 5 * (1 - step / steps))
        rows = states[torch.randint(len(states), (batch,), generator=generator)]
        values, places = torch.topk((rows - made["b_dec"]) @ made["W_enc"] + made["b_enc"], k)
        # Only k rows of the decoder take part in each token.
        rebuilt = embedding_bag(places, made["W_dec"], per_sample_weights=values.relu(), mode="sum") + made["b_dec"]
        loss = (rebuilt - rows).pow(2).mean() / spread
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            made["W_dec"] /= made["W_dec"].norm(dim=1, keepdim=True)
        if step % 100 == 99:
            print(
                f"step {step + 1:,} of {steps:,}: {loss.item():.1%} of variance unexplained, {time.perf_counter() - start:.0f} s"
            )
    return {name: values.detach().contiguous() for name, values in made.items()}


def save_saelens(folder: Path, tensors: dict[str, Tensor], *, k: int, model: str, layer: int) -> None:
    """cfg.json and sae_weights.safetensors, as SAELens reads them."""
    d_sae, d_in = tensors["W_dec"].shape
    about = {
        "architecture": "topk", "d_in": d_in, "d_sae": d_sae, "k": k, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "constant_norm_rescale", "reshape_activations": "none",
        "metadata": {"model_name": model, "hook_name": f"blocks.{layer}.hook_resid_post", "hf_hook_name": f"model.layers.{layer}"},
    }  # fmt: skip
    publish(folder / "sae_weights.safetensors", save(tensors))
    publish(folder / "cfg.json", json.dumps(about, indent=1))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--layer", type=int, default=14)
    parser.add_argument("--latents", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32, help="active latents per token")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=512, help="tokens per step")
    parser.add_argument("--texts", type=int, default=4000, help="most texts to read")
    parser.add_argument(
        "--table", type=Path, action="append", default=[], help="texts to train on, with a `text` column"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("saes/small"))
    given = parser.parse_args(arguments)
    texts = texts_of(given.table)
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(given.seed)).tolist()
    model = ps.load_model(given.model)
    states = normalised(token_states(model, [texts[i] for i in order[: given.texts]], given.layer))
    print(f"{len(states):,} tokens of {min(given.texts, len(texts)):,} texts, {states.shape[1]} dimensions")
    tensors = train(states, n_latents=given.latents, k=given.k, steps=given.steps, batch=given.batch, seed=given.seed)
    save_saelens(given.output, tensors, k=given.k, model=given.model, layer=given.layer)
    print(given.output)


if __name__ == "__main__":
    main()
