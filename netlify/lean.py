"""Pyodide's script without what a start from a snapshot does in vain.

At every start Emscripten copies the 8,500 symbols that the interpreter exports into three tables
and gives each function an address, for libraries that might be loaded later: a fifth of a cold
start. Here a symbol is looked up when one asks for it, and what nobody names is not copied.
"""

from __future__ import annotations

import json
import re
from typing import Final

LEAN: Final = "pyodide.lean.mjs"
ASSIGN: Final = "function assignWasmExports(wasmExports){"
ASSIGNMENT: Final = re.compile(
    r'(_[\w$]+)=Module\["\1"\]=wasmExports\["[^"]*"\](?:\.value>>>0)?(;|(?=\}))'
)
WORD: Final = re.compile(r"[\w$]+")
EXPORT: Final = re.compile(r'wasmExports(?:\["|\.)([\w$]+)')
COPIED: Final = "wasmExports=Object.assign({},wasmExports);"
MAIN: Final = "wasmImports.main=wasmExports.main??wasmExports.__main_argc_argv;"
MODULES: Final = "let modules=t&&API._pyodide._importhook.sys.modules,"
FIRST: Final = '[r,n]=API.rawRun("import _pyodide_core");'
REQUIRE: Final = 'const{createRequire}=await import("node:module");var require='
EVALUATED: Final = {
    'API._pyodide._base.eval_code("{}")': 'modules.get("builtins").dict()',
    'API.runPythonInternal("import importlib; importlib")': 'modules.get("importlib")',
    'API.runPythonInternal("import __main__; __main__.__dict__")': (
        'modules.get("__main__").__dict__'
    ),
    'API.runPythonInternal("import builtins; builtins.__dict__")': (
        'modules.get("builtins").__dict__'
    ),
}
CHANGES: Final = {
    # What the script imports into libraries inherits all exports, instead of a copy of each.
    'mergeLibSymbols(wasmExports,"main");': (
        f"Object.setPrototypeOf(wasmImports,wasmExports);{MAIN}"
    ),
    # Addresses that somebody needs are made by reportUndefinedSymbols in any case.
    "updateGOT(origExports);": "",
    # What Pyodide evaluates as source lies in memory already: Python's parser stays cold.
    f"let{FIRST}": f"{MODULES}{FIRST.replace('=', '=modules?[0]:')}",
    **{source: f"(modules?{found}:{source})" for source, found in EVALUATED.items()},
    # One import less; nothing asks for a package.
    f"{REQUIRE}createRequire(import.meta.url)": "var require=process.getBuiltinModule",
    # In parentheses V8 compiles a function at once, and does not read all of it twice.
    "async function _createPyodideModule(": "const _createPyodideModule=(async function(",
    ";return moduleRtn}export default": ";return moduleRtn});export default",
}


def lean(script: str, others: str) -> str | None:
    """Make the script for snapshots.

    Args:
        script: ``pyodide.asm.mjs``.
        others: the scripts that use its module.

    Returns:
        None if the script is not as this module knows it.
    """
    start = script.find(ASSIGN)
    end = script.find("}", start)
    declared = script.rfind(";var ", 0, start)
    if min(start, end, declared) < 0:
        return None
    used = set(WORD.findall(script[:declared] + script[end:] + others))
    names = {found[1] for found in ASSIGNMENT.finditer(script, start, end + 1)} - used
    variables = script[declared + len(";var ") : start].rstrip(";").split(",")
    kept = ASSIGNMENT.sub(
        lambda found: "" if found[1] in names else found[0], script[start : end + 1]
    )
    left = ",".join(name for name in variables if name not in names)
    script = f"{script[:declared]};var {left};{kept}{script[end + 1 :]}"
    exports = sorted(set(EXPORT.findall(script)))
    copied = f"{json.dumps(exports)}.map((name)=>[name,wasmExports[name]])"
    changes = {**CHANGES, COPIED: f"wasmExports=Object.fromEntries({copied});"}
    for old, new in changes.items():
        if script.count(old) != 1:
            return None
        script = script.replace(old, new)
    return script
