"""What results are made of: models that refuse what they do not know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Fields that nobody knows are refused, so that a misspelt one is noticed; so are numbers that are none."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
