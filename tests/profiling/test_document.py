from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.errors import ArtifactError
from edgekit.profiling.document import Document, json_schema, read_profile
from tests.report.test_table import profiled


def test_the_published_schema_is_the_one_in_the_code(root: Path) -> None:
    published = root / "docs" / "profile.schema.json"
    assert json.loads(published.read_text()) == json_schema(), "write it anew: python -m tests.profiling.test_document"


def test_a_profile_fits_its_schema_with_all_its_keys() -> None:
    profile = profiled()
    Document.model_validate(profile)
    assert set(profile) == set(Document.model_fields)


def test_a_profile_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profiled()))
    assert read_profile(path) == profiled()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is no profile"),
        (None, "is no profile"),
        ("[]", "is not valid"),
        (
            json.dumps({"schema_version": 2, "profiles": [profiled(), profiled()], "estimates": []}),
            "of several engines",
        ),
        (json.dumps(profiled() | {"rows": 3}), "'rows' is not valid"),
        (json.dumps(profiled() | {"schema_version": 1}), "'schema_version' is not valid"),
    ],
)
def test_what_is_no_profile_is_an_artifact_error(tmp_path: Path, content: str | None, problem: str) -> None:
    path = tmp_path / "profile.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ArtifactError, match=problem):
        read_profile(path)


if __name__ == "__main__":
    (Path(__file__).parents[2] / "docs" / "profile.schema.json").write_text(json.dumps(json_schema(), indent=1) + "\n")
