"""What an answer's bundle holds, as the ledger and results record it (`station.bundle_contents` looks; `regimes` says what it means)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class BundleContents(BaseModel):
    """What a bundle holds, by the bytes of its files and not by their names.

    Attributes:
        checkpoint_files: in `checkpoints/` that are not empty, of whatever format.
        weight_files, weight_bytes: files in a format of arrays or networks: NumPy, PyTorch, safetensors, HDF5, pickle, ZIP.
        binary_files, binary_bytes: other files that are not text, or too long for one.
        coded_bytes: of text, in unbroken words of 40 characters and more with several digits, such as base64.
        numbers: in all text files; `table`: most of them in one row, with nothing but brackets, commas and the like between.
        network: whether there is a declared network (`regimes.NETWORK`); whether it is one shows when it is run.
        named: some of the files behind these counts, the largest ones.
    """

    model_config = ConfigDict(extra="forbid")

    checkpoint_files: int = Field(default=0, ge=0)
    weight_files: int = Field(default=0, ge=0)
    weight_bytes: int = Field(default=0, ge=0)
    binary_files: int = Field(default=0, ge=0)
    binary_bytes: int = Field(default=0, ge=0)
    coded_bytes: int = Field(default=0, ge=0)
    numbers: int = Field(default=0, ge=0)
    table: int = Field(default=0, ge=0)
    network: bool = False
    named: list[str] = Field(default_factory=list)
