"""Sites of several layouts, as people have them, and what ``setup`` may do to their files."""

from __future__ import annotations

from pathlib import Path

SPA = '[[redirects]]\n  from = "/*"\n  to = "/index.html"\n  status = 200\n'

PLAIN = {
    "netlify.toml": '[build]\n  publish = "public/" # the pages\n',
    "public/index.html": "<!doctype html><title>Plain</title>\n",
}
VITE = {
    "package.json": '{"scripts": {"build": "vite build"}, "devDependencies": {"vite": "^7"}}\n',
    "package-lock.json": "{}\n",
    "index.html": "<!doctype html><script type=module src=/main.js></script>\n",
    ".gitignore": "node_modules\ndist",
}
ELSEWHERE = {
    "netlify.toml": (
        "# Our shop. Ask Ada before you change it.\n"
        "[build]\n"
        "command = '''npm ci; npm run build # both'''\n"
        'publish = "_site"\n'
        'functions = "lambda" # the old form\n'
        "\n"
        "[build.environment]\n"
        'PYTHON_VERSION = "3.12"\n'
        "\n"
        "# Old pages\n"
        '[[redirects]]\nfrom = "/old/*"\nto = "/:splat"\n'
        "\n"
        '[[headers]]\nfor = "/*"\n  [headers.values]\n  X-Frame-Options = "DENY"\n'
        "\n"
        f"{SPA}"
        "\n"
        '[functions."pay*"]\nincluded_files = ["prices/**"]\n'
        "\n"
        "[context.production]\n"
        'command = "npm run build:production"\n'
        "[context.deploy-preview]\n"
        'command = """\nnpm ci\nnpm run build\n"""\n'
    ),
    "package.json": '{"name": "shop"}\n',
    "lambda/pay.js": "export default () => new Response('paid')\n",
    "policy.toml": "# ours\n",
    ".gitignore": "_site\n.env\n",
}
MONOREPO = {
    "netlify.toml": '[build]\nbase = "web"\npublish = "dist"\ncommand = "yarn build"\n',
    "web/package.json": "{}\n",
    "web/yarn.lock": "",
    "api/main.go": "package main\n",
}
INLINE = {
    "netlify.toml": (
        'build = { command = "hugo", publish = "public", environment = { HUGO_VERSION = "1" } }\n'
        'functions = { directory = "fns" }\n'
    ),
}
DOTTED = {
    "netlify.toml": 'build.publish = "out"\nbuild."command" = "make"\nbuild.base = "/"\n',
}
CAPITALS = {
    "netlify.toml": '[Build]\r\nCommand = "make"\r\nPublish = "out"\r\n\r\n# the end\r\n',
}
WITH_BOM = {
    "netlify.toml": '\ufeff[build]\npublish = "out"\ncommand = "make"',
}
MADE_FOR_IT = {
    "netlify.toml": (
        '[build]\npublish = "out"\n\n[functions.identity]\nmemory = 2048\n\n'
        '[functions.api]\nincluded_files = ["mine/**"]\n'
    ),
    "netlify/requirements.txt": "./vendor/usher_identity-0.1.0-py3-none-any.whl",
}

SITES = {
    "plain": PLAIN,
    "vite": VITE,
    "functions elsewhere": ELSEWHERE,
    "monorepo": MONOREPO,
    "inline": INLINE,
    "dotted": DOTTED,
    "capitals and CRLF": CAPITALS,
    "byte order mark": WITH_BOM,
    "settings of functions": MADE_FOR_IT,
}
BASES = {"monorepo": "web"}


def make(folder: Path, files: dict[str, str]) -> Path:
    """Write a site's files, byte for byte."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
