"""`python -m tests.rename trip=order car=payment`: gives the words of this project other names.

It looks for each word and its plural as a part of a name (`trip_id`, `NewTrip`, `TRIPS`), and never
within another word (`strip`). It says how often each word stands in how many files, and where two
names of a file would become one. With `--apply` it renames, also the files themselves.

Its files are those that git knows, less itself, its page, and what a tool has made: recorded
histories and locks.
"""

import argparse
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

NOT_TO_CHANGE = re.compile(
    r"requirements/.*\.txt|tests/saga/(histories|earlier)/.*|LICENSE|docs/template\.md|tests/rename\.py"
)

ARTICLE = {"a": "an", "A": "An", "an": "a", "An": "A"}


def plural(word: str) -> str:
    if re.search("[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if re.search("(s|x|ch|sh)$", word) else f"{word}s"


class Names:
    """Old words and their new ones, in each form that a name can have."""

    def __init__(self, words: dict[str, str]) -> None:
        self._new: dict[str, str] = {}
        self.word: dict[str, str] = {}
        for old, new in words.items():
            for one, other in ((old, new), (plural(old), plural(new))):
                camel = "".join(part.capitalize() for part in other.split("_"))
                forms = {one: other, one.capitalize(): camel, one.upper(): other.upper()}
                self._new |= forms
                self.word |= dict.fromkeys(forms, old)
        # A word in lower case follows no letter, but for an escape such as `\n`. After `#` comes a
        # heading's anchor, in which words are not parted: `#tripspastdeadline`.
        small = "|".join(sorted(filter(str.islower, self._new), reverse=True))
        title = "|".join(sorted(filter(str.istitle, self._new), reverse=True))
        upper = "|".join(sorted(filter(str.isupper, self._new), reverse=True))
        self._pattern = re.compile(
            r"(?:(?<![A-Za-z])(?P<article>[Aa]n?)(?P<space>[ _\n-]))?"
            rf"(?P<word>(?<=#)(?:{small})|(?:(?<![A-Za-z])|(?<=\\[nrt]))(?:{small})(?![a-z])"
            rf"|(?:{title})(?![a-z])|(?<![A-Za-z])(?:{upper})(?![A-Za-z]))"
        )

    def found_in(self, text: str) -> Counter[str]:
        """Return how often each old word stands in a text."""
        return Counter(self.word[found["word"]] for found in self._pattern.finditer(text))

    def renamed(self, text: str) -> str:
        return self._pattern.sub(self._rename, text)

    def _rename(self, found: re.Match[str]) -> str:
        article, new = found["article"], self._new[found["word"]]
        if not article:
            return new
        if (article.lower() == "an") != (new[0].lower() in "aeiou"):
            article = ARTICLE[article]
        return f"{article}{found['space']}{new}"


def files() -> Iterator[tuple[Path, str]]:
    """Yield the project's files and their texts: that of a picture is empty."""
    listed = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if Path(name).is_file() and not NOT_TO_CHANGE.fullmatch(name):
            try:
                yield Path(name), Path(name).read_text()
            except UnicodeDecodeError:
                yield Path(name), ""


def meetings(names: Names, code: str) -> set[tuple[str, str]]:
    """Return the names in Python code that become others which stand there already."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    used = {token.string for token in tokens if token.type == tokenize.NAME}
    pairs = {(name, names.renamed(name)) for name in used}
    return {(name, other) for name, other in pairs if name != other and other in used}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.rename", description=__doc__)
    parser.add_argument("words", nargs="+", metavar="old=new")
    parser.add_argument("--apply", action="store_true", help="rename, and do not only say it")
    given = parser.parse_args()
    names = Names(dict(pair.split("=") for pair in given.words))
    count: Counter[str] = Counter()
    within: defaultdict[str, set[Path]] = defaultdict(set)
    for path, text in files():
        for word, times in (names.found_in(text) + names.found_in(str(path))).items():
            count[word] += times
            within[word].add(path)
        for name, other in sorted(meetings(names, text)) if path.suffix == ".py" else []:
            say(f"{path}: {name} becomes {other}, which is there")
        if given.apply:
            if text:
                path.write_text(names.renamed(text))
            place = Path(names.renamed(str(path)))
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
    for word, times in count.most_common():
        say(f"{word}: {times} times in {len(within[word])} files")


if __name__ == "__main__":
    main()
