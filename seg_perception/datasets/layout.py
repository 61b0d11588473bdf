"""Looking for a dataset's files, and saying what was found in place of what was expected."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_perception.errors import DatasetError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Layout:
    """Where a dataset lies and what its folders should look like.

    Attributes:
        title: of the dataset, as messages call it.
        root: its folder.
        tree: the expected tree, shown whenever something is missing.
    """

    title: str
    root: Path
    tree: str

    def fault(self, found: str) -> DatasetError:
        """The error that says what was found, and shows what was expected."""
        return DatasetError(f"{self.title}: {found}\n{self.tree}")

    def folder(self, *parts: str) -> Path:
        """A folder below the root.

        Raises:
            DatasetError: it is not there.
        """
        path = self.root.joinpath(*parts)
        if not path.is_dir():
            raise self.fault(f"no folder {path}; {self._nearest(path.parent)}")
        return path

    def files(
        self, *parts: str, suffixes: Sequence[str] = IMAGE_SUFFIXES, ending: str = ""
    ) -> dict[str, Path]:
        """Files right in a folder, by their stem without `ending`.

        Args:
            parts: of the folder's path below the root.
            suffixes: that count, in lower case.
            ending: of the stems; files that end otherwise do not count.

        Raises:
            DatasetError: no such folder, or no such file in it.
        """
        folder = self.folder(*parts)
        files = {
            entry.stem.removesuffix(ending): entry
            for entry in folder.iterdir()
            if entry.suffix.lower() in suffixes and entry.stem.endswith(ending)
        }
        if not files:
            kind = " or ".join(f"{ending}{suffix}" for suffix in suffixes)
            raise self.fault(f"{folder} holds no {kind} file")
        return files

    def pairs(
        self, images: Mapping[str, Path], labels: Mapping[str, Path]
    ) -> dict[str, tuple[Path, Path]]:
        """Image and label file by what their names share.

        Raises:
            DatasetError: a file without its partner.
        """
        unpaired = [
            f"{len(missing)} {kind} lack {lacked} ({first_few(missing)})"
            for kind, lacked, missing in (
                ("images", "labels", sorted(images.keys() - labels.keys())),
                ("labels", "images", sorted(labels.keys() - images.keys())),
            )
            if missing
        ]
        if unpaired:
            raise self.fault(f"{self.root} is incomplete: {'; '.join(unpaired)}; copy it again")
        return {key: (images[key], labels[key]) for key in images}

    def listed(self, pairs: Mapping[str, tuple[Path, Path]]) -> Mapping[str, tuple[Path, Path]]:
        """The pairs themselves, made of names in a list, once all of their files are there.

        Raises:
            DatasetError: the list is empty, or files are missing.
        """
        missing = [str(path) for pair in pairs.values() for path in pair if not path.is_file()]
        if missing or not pairs:
            count = f"{len(missing)} of {2 * len(pairs)} listed files are missing"
            raise self.fault(f"{self.root}: {count} ({first_few(missing)}); copy them again")
        return pairs

    def _nearest(self, path: Path) -> str:
        """What the nearest folder at or above a path holds, down from the root."""
        while path != self.root and not path.is_dir():
            path = path.parent
        if not path.is_dir():
            return f"{path} does not exist"
        return f"{path} holds {first_few(sorted(entry.name for entry in path.iterdir()))}"

    def lines(self, *parts: str) -> list[list[str]]:
        """The words of each line of a text file that is not blank.

        Raises:
            DatasetError: it is not there.
        """
        path = self.root.joinpath(*parts)
        if not path.is_file():
            raise self.fault(f"no file {path}")
        lines = (line.split() for line in path.read_text().splitlines())
        return [words for words in lines if words]


def descend(root: Path | str, names: Collection[str]) -> Path:
    """The folder that holds the data, where the root given may be one of those around it."""
    path = Path(root)
    for name in names:
        if (path / name).is_dir():
            path /= name
    return path


def first_few(names: Iterable[str], count: int = 4) -> str:
    """Some of many names, and how many more there are; "nothing" where there are none."""
    names = list(names)
    more = f", ... {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more if names else "nothing"
