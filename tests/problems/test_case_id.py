import pytest

from chainback.errors import UsageError
from chainback.problems.case_id import BatchIds, CaseId


@pytest.mark.parametrize(
    "text",
    ["", "lecture", "lecture@1:0:8x1:3", "lecture@1:0:0x1:3:0", "lecture@1:0:8x1:3:17/17", "lecture@x:0:8x1:3:1"],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is none: "):
        CaseId.parse(text)


def test_ids_read_back() -> None:
    for text in ("lecture@1:0:8x1:3:17", "wide@1:12:3x16:0:0/128"):
        assert str(CaseId.parse(text)) == text


def test_the_ids_of_a_batch_are_a_sequence() -> None:
    ids = BatchIds(CaseId.parse("lecture@1:0:8x1:3:0/4"))
    assert len(ids) == 4
    assert ids[-1] == "lecture@1:0:8x1:3:3/4"
    assert ids[1:3] == ("lecture@1:0:8x1:3:1/4", "lecture@1:0:8x1:3:2/4")
    with pytest.raises(IndexError):
        ids[4]
