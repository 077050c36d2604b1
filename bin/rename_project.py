"""Give the project another name: what people see of it, and its image's. The package `launchpad` keeps its own.

make rename NAME="My tools"
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = r"[\w .,&()'+-]{1,60}"  # what needs no escape in any of the files

# Where the name stands, as a pattern with a group before it and one behind it; {image} is the name as an image has it.
PLACES = (
    ("docker-compose.yml", r'(TITLE: "\$\{TITLE:-)[^}]*(\}")', "{name}"),
    ("docker-compose.yml", r"(\n  image: )(?!redis)\S+()", "{image}"),
    ("project/local.py", r"(\nTITLE = )\".*\"()", "{quoted}"),
    (".env.example", r"(\n#TITLE=).*()", "{name}"),
    ("README.md", r"(\A# ).*()", "{name}"),
)


def main() -> None:
    """Change all places, or none."""
    name = " ".join(sys.argv[1:]).strip()
    if not re.fullmatch(ALLOWED, name):
        sys.exit('Give a name of up to 60 letters, digits, spaces and . , & ( ) \' + -: make rename NAME="My tools"')
    image = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    image = image if len(image) > 1 else "app"
    words = {"name": name, "image": image, "quoted": json.dumps(name, ensure_ascii=False)}
    texts: dict[str, str] = {}
    for file, pattern, word in PLACES:
        text = texts.get(file) or (ROOT / file).read_text()
        texts[file], found = re.subn(pattern, rf"\g<1>{word.format(**words)}\g<2>", text)
        if found != 1:
            sys.exit(f"{file}: the name stands there {found} times, not once. Nothing was changed.")
    for file, text in texts.items():
        (ROOT / file).write_text(text)
    print(f"{name}: changed {', '.join(texts)}.")


if __name__ == "__main__":
    main()
