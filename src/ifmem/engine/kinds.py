"""What kind of document a file name promises: one table by name, one by suffix."""

from __future__ import annotations

from ifmem.domain.document import Kind

_CODE_SUFFIXES = """
    py pyi pyx pxd pyw ipy
    js mjs cjs jsx ts mts cts tsx vue svelte astro
    c h cc cpp cxx c++ hh hpp hxx h++ inl ipp m mm cu cuh
    java kt kts scala sc groovy gradle clj cljs cljc edn
    go rs swift zig nim d v odin cr
    cs fs fsi fsx vb xaml razor cshtml
    rb rake gemspec erb php phtml pl pm t lua tcl
    sh bash zsh fish ksh csh ps1 psm1 psd1 bat cmd awk sed nu
    sql psql ddl plsql prql
    hs lhs ml mli re rei elm purs erl hrl ex exs eex heex leex lisp lsp el scm rkt
    r jl f f77 f90 f95 f03 for pas pp ada adb ads cob cbl asm s vhd vhdl sv svh
    dart sol vy move cairo wat wgsl glsl hlsl vert frag metal cl
    html htm xhtml css scss sass less styl pug hbs j2 jinja jinja2 liquid mustache tmpl
    proto thrift avdl capnp fbs graphql gql wsdl idl
    cmake mk mak just bzl bazel star nix tf tfvars hcl bicep rego cue dhall jsonnet libsonnet
    dockerfile containerfile vim
"""
_CONFIG_SUFFIXES = """
    toml yaml yml ini cfg conf config cnf properties props editorconfig
    json5 jsonc hjson plist desktop service socket timer target mount rules
    xsd xsl xslt dtd pom csproj fsproj vbproj sln vcxproj nuspec resx targets
    lock sum mod work npmrc yarnrc nvmrc babelrc eslintrc prettierrc stylelintrc
    gitignore gitattributes gitmodules gitconfig dockerignore npmignore ifmemignore
"""
_DATA_SUFFIXES = """
    csv tsv psv tab json jsonl ndjson geojson xml svg log out err trace har
    kml gpx rdf ttl nt nq n3 owl po pot srt vtt ics vcf bib diff patch snap
    fasta fa fastq gff vcard ldif arff libsvm dat parquet-meta
"""
_PROSE_SUFFIXES = """
    md markdown mdx mdown mkd mkdn rmd qmd rst rest txt text adoc asciidoc asc tex ltx sty
    org textile wiki mediawiki creole pod man rtf eml mbox
"""
_CODE_NAMES = """
    dockerfile containerfile makefile gnumakefile bsdmakefile cmakelists.txt justfile rakefile
    gemfile podfile fastfile appfile vagrantfile jenkinsfile brewfile procfile guardfile berksfile
    sconstruct sconscript wscript build workspace build.bazel tiltfile earthfile
    .bashrc .bash_profile .bash_aliases .profile .zshrc .zprofile .zshenv .vimrc .emacs
"""
_CONFIG_NAMES = """
    package.json package-lock.json composer.json composer.lock bower.json deno.json turbo.json
    nx.json lerna.json rush.json vercel.json netlify.json firebase.json app.json angular.json
    manifest.json launch.json settings.json tasks.json extensions.json devcontainer.json
    biome.json renovate.json babel.config.json nest-cli.json project.json global.json
    appsettings.json pom.xml web.config app.config build.xml androidmanifest.xml go.mod go.sum
    go.work requirements.txt constraints.txt pipfile pipfile.lock poetry.lock uv.lock
    cargo.lock yarn.lock gemfile.lock mix.lock flake.lock manifest.in codeowners
    .gitignore .gitattributes .gitmodules .gitconfig .dockerignore .npmignore .npmrc .yarnrc
    .nvmrc .editorconfig .babelrc .eslintrc .prettierrc .stylelintrc .pylintrc .flake8
    .coveragerc .clang-format .clang-tidy .importlinter .ifmemignore .python-version
    .tool-versions .eslintrc.json .prettierrc.json .babelrc.json .swcrc .mcp.json
"""
_MARKDOWN_SUFFIXES = frozenset(("md", "markdown", "mdx", "mdown", "mkd", "mkdn", "rmd", "qmd"))

_BY_SUFFIX = {
    suffix: kind
    for kind, suffixes in (
        (Kind.PROSE, _PROSE_SUFFIXES),
        (Kind.DATA, _DATA_SUFFIXES),
        (Kind.CONFIG, _CONFIG_SUFFIXES),
        (Kind.CODE, _CODE_SUFFIXES),
    )
    for suffix in suffixes.split()
}
_BY_NAME = {
    name: kind
    for kind, names in ((Kind.CONFIG, _CONFIG_NAMES), (Kind.CODE, _CODE_NAMES))
    for name in names.split()
}
# `tsconfig.build.json`, `Dockerfile.dev`, `requirements-dev.txt`: a known name with a variant.
_BY_BEGINNING = (
    ("tsconfig", ".json", Kind.CONFIG),
    ("jsconfig", ".json", Kind.CONFIG),
    ("appsettings.", ".json", Kind.CONFIG),
    ("requirements", ".txt", Kind.CONFIG),
    ("constraints", ".txt", Kind.CONFIG),
    ("dockerfile.", "", Kind.CODE),
    ("makefile.", "", Kind.CODE),
    ("jenkinsfile.", "", Kind.CODE),
)


def kind_of(name: str) -> Kind:
    """The kind of a file by its name or path; text of an unknown suffix is prose.

    ``CHAT`` and ``GIT_LOG`` are never promised by a name: the readers that know them say so.
    """
    base = _base(name)
    known = _BY_NAME.get(base)
    if known is not None:
        return known
    for beginning, ending, kind in _BY_BEGINNING:
        if base.startswith(beginning) and base.endswith(ending):
            return kind
    return _BY_SUFFIX.get(suffix_of(base), Kind.PROSE)


def is_markdown(name: str) -> bool:
    """Whether a file's name says that its text is Markdown."""
    return suffix_of(name) in _MARKDOWN_SUFFIXES


def suffix_of(name: str) -> str:
    """The last suffix in lower case without its dot; a name without one is its own suffix."""
    return _base(name).rpartition(".")[2]


def _base(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2].lower()
