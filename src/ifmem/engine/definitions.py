"""What a line that opens a definition, a section or a heading looks like, family by family.

Rules of lines, not parsers: they are wrong now and then, and a wrong header costs a reader a
moment, while a grammar for each language would cost every load seconds. Each pattern begins with
the line break before the line, which the regex engine finds fastest.
"""

from __future__ import annotations

import re

from ifmem.domain.document import Kind
from ifmem.engine.kinds import is_markdown, suffix_of

Pattern = re.Pattern[str]
"""Groups: ``indent`` (absent where nothing nests); ``word``, the keyword if any; ``name``."""

_MODIFIERS = (
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|unsafe"
    r"|pub(?:\([a-z: ]{1,30}\))?|extern(?: \"C\")?|override|open|sealed|data|inline|virtual"
    r"|partial|declare|readonly|suspend|local|const|constexpr|typedef|case|fileprivate)[ ]+){0,5}+"
)
_PYTHON = r"\n(?P<indent>[ \t]*+)(?:async[ ]+|cp|c)?(?P<word>def|class)[ ]+(?P<name>[A-Za-z_]\w*+)"
_BRACES = (
    rf"\n(?P<indent>[ \t]*+){_MODIFIERS}(?:"
    r"(?P<word>class|struct|enum(?: class)?|interface|trait|namespace|module|mod|union|record"
    r"|object|protocol|extension|function\*?|func|fn|fun|type|message|service|rpc|contract|library"
    r"|macro_rules!|resource|variable)[ ]+(?:\([^)\n]{0,80}\)[ ]*)?\"?(?P<name>[A-Za-z_$][\w$.:]*+)"
    r"|(?P<word2>impl)(?:<[^\n{]{0,80}?>)?[ ]+(?P<name2>[^\n{]{1,80}?)[ ]*(?=\{|\n|where)"
    r"|(?:let|var)?[ ]*(?P<name3>[A-Za-z_$][\w$]*+)[ ]*(?::[^=\n]{1,80})?=[ ]*(?:async[ ]*)?"
    r"(?:function\b|\([^\n]{0,200}?\)[^=\n]{0,60}=>|[A-Za-z_$][\w$]*+[ ]*=>)"
    r"|(?!(?:return|if|for|while|switch|else|do|case|new|throw|delete|goto|using|catch|await"
    r"|yield|elif|with|match|assert|in|unless|and|or|not|sizeof|foreach|lock)\b)"
    # With a type before it, the body may begin on a later line; without one it must begin here,
    # or it is a call.
    r"(?:(?P<typed>(?:[\w:<>,\[\].?]++[ \t*&]++){1,6}+)|(?P<bare>))"
    r"(?P<name4>(?<=[ \t\n*&])~?[A-Za-z_$][\w$]*+(?:::~?[A-Za-z_]\w*+)*+)[ ]?\([^;\n\"']{0,300}"
    r"(?:\{|(?<=[),])(?(bare)(?!)))[ \t]*(?=\r?\n))"
)
_RUBY = (
    r"\n(?P<indent>[ \t]*+)(?P<word>def|class|module|defmodule|defp|defmacro)[ ]+"
    r"(?P<name>[\w.:?!]++)"
)
_SHELL = (
    r"\n(?P<indent>[ \t]*+)(?:(?P<word>function)[ ]+(?P<name>[\w:.\-]++)"
    r"|(?P<name2>[\w:.\-]++)[ ]?\([ ]?\)[ ]*(?=\{|\r?\n))"
)
_LUA = r"\n(?P<indent>[ \t]*+)(?:local[ ]+)?(?P<word>function|sub)[ ]+(?P<name>[\w.:]++)"
_SQL = (
    r"(?i:\n(?P<indent>[ \t]*+)create[ ]+(?:or[ ]+replace[ ]+)?(?:temp(?:orary)?[ ]+"
    r"|unique[ ]+|virtual[ ]+|materialized[ ]+)?(?P<word>table|view|function|procedure|index"
    r"|trigger|type|schema)[ ]+(?:if[ ]+not[ ]+exists[ ]+)?(?P<name>[\w.\"`\[\]]++))"
)
_SECTIONS = r"\n(?P<name>\[{1,2}[^\]\n]{1,100}\]{1,2})[ \t]*(?=\r?\n|#|;)"
_YAML = (
    r"\n(?P<indent>[ ]*+)(?:-[ ]+)?(?P<name>[\w\"'/.$][\w\"'/.$\- ]{0,60}+):"
    r"(?=[ ]*(?:[|>&!][^\n]*|#[^\n]*)?\r?\n)"
)
_JSON = r"\n(?P<indent>[ \t]*+)\"(?P<name>[^\"\n]{1,60})\"[ ]*:[ ]*(?=[\[{][ ]*\r?\n)"
_MAKE = r"\n(?P<name>[A-Za-z0-9_.%/$(){}\-]++(?: [A-Za-z0-9_.%/\-]++){0,5}+)[ ]?:(?![=:])"
_DOCKER = r"\n(?P<word>FROM)[ ]+(?P<name>[^\n]{1,80})"
_GIT_LOG = r"\n(?P<word>commit)[ ]+(?P<name>[0-9a-f]{7,12})"

_MARKDOWN = r"\n[ ]{0,3}(?P<level>#{1,6})[ \t]+(?P<title>[^\n]{1,200})"
_ADOC = r"\n(?P<level>={1,6})[ \t]+(?P<title>[^\n]{1,200})"
_SETEXT = r"\n(?P<title>[^\s\-=*+#`:.|>][^\n]{0,200})\r?\n(?P<level>={3,}+|-{3,}+)[ \t]*(?=\r?\n)"
_UNDERLINED = (
    r"\n(?P<title>[^\s\-=~^\"'*+#`:.|>][^\n]{0,200})\r?"
    r"\n(?P<level>={3,}+|-{3,}+|~{3,}+|\^{3,}+|\"{3,}+|\*{3,}+|\+{3,}+|#{3,}+|`{3,}+)"
    r"[ \t]*(?=\r?\n)"
)
_TEX = r"\n[ \t]*\\(?P<level>part|chapter|(?:sub){0,2}section)\*?\{(?P<title>[^}\n]{1,200})\}"

_FAMILIES = (
    (_PYTHON, "py pyi pyx pxd pyw ipy nim gd"),
    (_RUBY, "rb rake gemspec ex exs cr"),
    (_SHELL, "sh bash zsh ksh .bashrc .zshrc .profile"),
    (_LUA, "lua pl pm t"),
    (_SQL, "sql psql ddl plsql"),
    (_SECTIONS, "toml ini cfg conf editorconfig gitconfig service socket timer desktop"),
    (_YAML, "yaml yml"),
    (_JSON, "json json5 jsonc geojson har"),
    (_MAKE, "mk mak makefile gnumakefile justfile just"),
    (_DOCKER, "dockerfile containerfile"),
)
_BY_SUFFIX = {
    suffix: re.compile(pattern) for pattern, suffixes in _FAMILIES for suffix in suffixes.split()
}
_OTHER_CODE = re.compile(_BRACES)
_LOG = re.compile(_GIT_LOG)

_HEADINGS = {
    **dict.fromkeys(("adoc", "asciidoc", "asc"), re.compile(_ADOC)),
    **dict.fromkeys(("rst", "rest", "txt", "text"), re.compile(_UNDERLINED)),
    **dict.fromkeys(("tex", "ltx", "sty"), re.compile(_TEX)),
}
_MARKDOWN_HEADINGS = re.compile(_MARKDOWN)
_SETEXT_HEADINGS = re.compile(_SETEXT)


def definitions_of(kind: Kind, name: str) -> Pattern | None:
    """The pattern of lines that open a definition or section, or None when there are none."""
    if kind is Kind.GIT_LOG:
        return _LOG
    known = _BY_SUFFIX.get(suffix_of(name))
    if known is not None:
        return known
    return _OTHER_CODE if kind is Kind.CODE else None


def headings_of(name: str) -> tuple[Pattern, ...]:
    """The patterns of heading lines of a prose format; none for plain formats."""
    if is_markdown(name):
        return (_MARKDOWN_HEADINGS, _SETEXT_HEADINGS)
    known = _HEADINGS.get(suffix_of(name))
    return (known,) if known is not None else ()
