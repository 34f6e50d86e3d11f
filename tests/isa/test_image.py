"""Program images and their files."""

import os
from pathlib import Path

import numpy as np
import pytest

from isa.config import load_config
from isa.image import ImageError, ProgramImage, load_image, require_config, save_image
from isa.iomap import IoMap, Tensor
from isa.program import Op

TINY = load_config("tiny")


def some_image() -> ProgramImage:
    tensors = (
        Tensor("ids", "tokens", 64, 4, 1, "int32", 16, "int64"),
        Tensor("past.0", "kv", 128, 64, 6, "bf16", 16, "float32", 2, 32, "present.0"),
    )
    return ProgramImage.from_ops(
        TINY,
        [Op("sync")] * 300 + [Op("halt")],
        code_base=200,
        hbm=np.arange(777, dtype=np.uint32).view(np.uint8),
        hbm_bytes=100_000,
        io=IoMap(0, 4, 16, tensors),
        nodes=[(0, "first"), (7, "second"), (300, "")],
        meta={"source": "x.onnx", "chunk": 8},
    )


def test_a_file_holds_everything(tmp_path: Path):
    image, path = some_image(), tmp_path / "a.jx"
    save_image(image, path)
    again = load_image(path)
    assert np.array_equal(again.hbm, image.hbm)
    for name in ("config", "code", "code_base", "hbm_bytes", "io", "nodes", "meta"):
        assert getattr(again, name) == getattr(image, name), name
    assert [op.mnemonic for op in again.ops()[-2:]] == ["sync", "halt"]
    assert os.listdir(tmp_path) == ["a.jx"]


def test_memory_has_data_and_code_in_place_and_zeros_elsewhere():
    image = some_image()
    memory = image.memory()
    assert memory.size == 100_032  # whole atoms
    assert np.array_equal(memory[:3108], image.hbm)
    assert memory[12_800 : 12_800 + len(image.code)].tobytes() == image.code
    assert not memory[3108:12_800].any()
    assert not memory[12_800 + len(image.code) :].any()


def test_nodes_hold_up_to_the_next_one():
    image = some_image()
    assert [image.node_of(i) for i in (0, 6, 7, 299, 300)] == ["first"] * 2 + ["second"] * 2 + [""]
    assert ProgramImage(TINY, b"").node_of(5) == ""


def test_tensors_know_their_extent():
    ids, past = some_image().io.tensors
    assert (ids.end, ids.group_step()) == (128, 4)
    assert (past.end, past.group_step()) == (1152, 32)


def test_impossible_images_are_refused():
    with pytest.raises(ValueError, match=r"^code must be whole instructions of 32 bytes, not 33"):
        ProgramImage(TINY, bytes(33))
    with pytest.raises(ValueError, match=r"needs 8192 bytes of memory, .*'tiny' has 4096$"):
        ProgramImage(TINY.replace(hbm="", memory_bytes=4096), b"", hbm_bytes=8192)
    with pytest.raises(ValueError, match=r"bytes of memory, configuration 'tiny' has 1073741824$"):
        ProgramImage(TINY, b"", hbm_bytes=(1 << 30) + 1)  # two pseudo-channels of 512 MiB
    with pytest.raises(ValueError, match=r"^tensor 'x': kind must be one of .*, not 'foo'$"):
        Tensor("x", "foo", 0, 4, 1, "int32", 1, "int64")
    with pytest.raises(ValueError, match=r"^tensor 'x': dtype must be one of .*, not 'int8'$"):
        Tensor("x", "kv", 0, 4, 1, "int8", 1, "int64")


def test_memory_is_whole_beats():
    for axi_bytes, size in ((32, 64 * 3), (128, 128 * 2)):
        config = TINY.replace(line_bytes=128, axi_bytes=axi_bytes)
        assert ProgramImage(config, b"", hbm_bytes=129).memory().size == size


def test_missing_and_foreign_files(tmp_path: Path):
    with pytest.raises(ImageError, match=r"none\.jx: no such file$"):
        load_image(tmp_path / "none.jx")
    with pytest.raises(ImageError, match=r": cannot be read: "):
        load_image(tmp_path)
    for content in (b"", b"PK\x03\x04 something else", b"JALAPENX" + bytes(100)):
        (tmp_path / "x.jx").write_bytes(content)
        with pytest.raises(ImageError, match=r"x\.jx: not a program image"):
            load_image(tmp_path / "x.jx")


def test_every_truncation_is_noticed(tmp_path: Path):
    save_image(some_image(), tmp_path / "a.jx")
    data = (tmp_path / "a.jx").read_bytes()
    path = tmp_path / "cut.jx"
    for size in [4, 20, 47, 48, 100, 2000, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(ImageError, match=r"cut\.jx: truncated program image: \d+ bytes"):
            load_image(path)


def test_every_damage_is_noticed(tmp_path: Path):
    save_image(some_image(), tmp_path / "a.jx")
    data = (tmp_path / "a.jx").read_bytes()
    path = tmp_path / "bad.jx"
    for position in [*range(64), *range(64, len(data), 97), len(data) - 1]:
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match=r"bad\.jx: "):
            load_image(path)


def test_other_versions_are_refused(tmp_path: Path):
    path = tmp_path / "a.jx"
    save_image(some_image(), path)
    data = bytearray(path.read_bytes())
    data[8] = 9
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"image of version 9, this program reads version 3$"):
        load_image(path)


def test_images_belong_to_one_configuration():
    image = some_image()
    require_config(image, TINY.replace(memory_latency_cycles=99))  # does not change programs
    with pytest.raises(ImageError, match=r"^p\.jx: made for configuration 'tiny' .* not for 'sm"):
        require_config(image, load_config("small"), "p.jx")


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path):
    path = tmp_path / "a.jx"
    save_image(some_image(), path)
    before = path.read_bytes()
    broken = some_image()
    broken.meta = {"not JSON": object()}
    with pytest.raises(TypeError):
        save_image(broken, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.jx"]
    with pytest.raises(FileNotFoundError, match=r"no/where/a.jx"):
        save_image(some_image(), tmp_path / "no" / "where" / "a.jx")
