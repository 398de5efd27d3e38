"""Activations with a direction planted in one cell of a small layer x position grid, as stores and files have them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

PLANTED = (2, "post[-2]")


@dataclass
class Grid:
    """Rows of noise; at `PLANTED` one direction carries the label, at layer -1 (embeddings) all rows are the same."""

    n: int = 160
    d: int = 24
    seed: int = 0
    task: str = "regression"
    strength: float = 3.0
    name: str = "toy"
    layers: tuple[int, ...] = (-1, 0, 2)
    positions: tuple[str, ...] = ("post[-2]", "post[-1]")
    texts: list[str] | None = None
    groups: np.ndarray | None = None
    dtype: str = "float32"
    space: dict = field(default_factory=lambda: {"model": "toy", "weights": "w", "d_model": 24, "prompts": None})

    def __post_init__(self) -> None:
        generator = np.random.default_rng(self.seed)
        self.signal = generator.normal(size=self.n)
        self.texts = self.texts or [f"question {self.seed} {i} about {'x' * (i % 7)}" for i in range(self.n)]

    @property
    def identity(self) -> str:
        return f"{self.name}-{self.n}-{self.seed}-{self.task}-{self.strength}"

    @property
    def targets(self) -> np.ndarray:
        return (self.signal > 0).astype(float) if self.task == "classification" else self.signal

    def read(self, layer, position):
        if layer == -1:
            return np.full((self.n, self.d), 0.5, dtype=np.float32)
        generator = np.random.default_rng([self.seed, layer, self.positions.index(position)])
        acts = generator.normal(size=(self.n, self.d)) + 2.0
        direction = np.random.default_rng(99).normal(size=self.d)
        if (layer, position) == PLANTED:
            acts += self.strength * self.signal[:, None] * direction / np.linalg.norm(direction)
        return acts.astype(np.float32)
