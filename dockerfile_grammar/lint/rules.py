"""
The build checks as data: names, sentences and the texts of single findings.

Names, sentences and addresses are those of BuildKit: people skip rules by name and tools match texts. Where
a rule looks is not said here: see `file` and `stage` beside this module, and the builder for those that need
the values of variables. Governing text: https://docs.docker.com/reference/build-checks/.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..golang import quote

_SITE = "https://docs.docker.com/go/dockerfile/rule/"
_WORD_STARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    One check.

    `detail` makes the text of a finding from what was found. Experimental rules are off until asked for.
    """

    name: str
    description: str
    detail: Callable[..., str]
    experimental: bool = False
    has_page: bool = True

    @property
    def url(self) -> str:
        """The page that explains the rule, or ""."""
        return f"{_SITE}{_WORD_STARTS.sub('-', self.name).lower()}/" if self.has_page else ""


def _or_suggest(text: str, suggestion: str | None, mark: str = "") -> str:
    return f"{text} (did you mean {mark}{suggestion}?)" if suggestion else text


STAGE_NAME_CASING = Rule(
    name="StageNameCasing",
    description="Stage names should be lowercase",
    detail=lambda name: f"Stage name '{name}' should be lowercase",
)
FROM_AS_CASING = Rule(
    name="FromAsCasing",
    description="The 'as' keyword should match the case of the 'from' keyword",
    detail=lambda keyword, word: f"'{word}' and '{keyword}' keywords' casing do not match",
)
NO_EMPTY_CONTINUATION = Rule(
    name="NoEmptyContinuation",
    description="Empty continuation lines will become errors in a future release",
    detail=lambda: "Empty continuation line",
)
CONSISTENT_INSTRUCTION_CASING = Rule(
    name="ConsistentInstructionCasing",
    description="All commands within the Dockerfile should use the same casing (either upper or lower)",
    detail=lambda keyword, casing: (
        f"Command '{keyword}' should match the case of the command majority ({casing})"
    ),
)
DUPLICATE_STAGE_NAME = Rule(
    name="DuplicateStageName",
    description="Stage names should be unique",
    detail=lambda name: f"Duplicate stage name {quote(name)}, stage names should be unique",
)
RESERVED_STAGE_NAME = Rule(
    name="ReservedStageName",
    description="Reserved words should not be used as stage names",
    detail=lambda name: f"Stage name should not use the same name as reserved stage {quote(name)}",
)
JSON_ARGS_RECOMMENDED = Rule(
    name="JSONArgsRecommended",
    description="JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to"
    " OS signals",
    detail=lambda keyword: (
        f"JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"
    ),
)
MAINTAINER_DEPRECATED = Rule(
    name="MaintainerDeprecated",
    description="The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    detail=lambda: "Maintainer instruction is deprecated in favor of using label",
)
UNDEFINED_ARG_IN_FROM = Rule(
    name="UndefinedArgInFrom",
    description="FROM command must use declared ARGs",
    detail=lambda name, near: _or_suggest(f"FROM argument '{name}' is not declared", near),
)
WORKDIR_RELATIVE_PATH = Rule(
    name="WorkdirRelativePath",
    description="Relative workdir without an absolute workdir declared within the build can have unexpected"
    " results if the base image changes",
    detail=lambda path: (
        f"Relative workdir {quote(path)} can have unexpected results if the base image changes"
    ),
)
UNDEFINED_VAR = Rule(
    name="UndefinedVar",
    description="Variables should be defined before their use",
    detail=lambda name, near: _or_suggest(f"Usage of undefined variable '${name}'", near, "$"),
)
MULTIPLE_INSTRUCTIONS_DISALLOWED = Rule(
    name="MultipleInstructionsDisallowed",
    description="Multiple instructions of the same type should not be used in the same stage",
    detail=lambda keyword: (
        f"Multiple {keyword} instructions should not be used in the same stage"
        " because only the last one will be used"
    ),
)
LEGACY_KEY_VALUE_FORMAT = Rule(
    name="LegacyKeyValueFormat",
    description="Legacy key/value format with whitespace separator should not be used",
    detail=lambda keyword: (
        f'"{keyword} key=value" should be used instead of legacy "{keyword} key value" format'
    ),
)
INVALID_BASE_IMAGE_PLATFORM = Rule(
    name="InvalidBaseImagePlatform",
    description="Base image platform does not match expected target platform",
    detail=lambda image, expected, found: (
        f"Base image {image} was pulled with platform {quote(found)},"
        f" expected {quote(expected)} for current build"
    ),
    has_page=False,
)
REDUNDANT_TARGET_PLATFORM = Rule(
    name="RedundantTargetPlatform",
    description="Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default"
    " behavior",
    detail=lambda written: (
        f"Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
    ),
)
SECRETS_USED_IN_ARG_OR_ENV = Rule(
    name="SecretsUsedInArgOrEnv",
    description="Sensitive data should not be used in the ARG or ENV commands",
    detail=lambda keyword, name: (
        f"Do not use ARG or ENV instructions for sensitive data ({keyword} {quote(name)})"
    ),
)
INVALID_DEFAULT_ARG_IN_FROM = Rule(
    name="InvalidDefaultArgInFrom",
    description="Default value for global ARG results in an empty or invalid base image name",
    detail=lambda image: f"Default value for ARG {image} results in empty or invalid base image name",
)
FROM_PLATFORM_FLAG_CONST_DISALLOWED = Rule(
    name="FromPlatformFlagConstDisallowed",
    description="FROM --platform flag should not use a constant value",
    detail=lambda platform: f"FROM --platform flag should not use constant value {quote(platform)}",
)
COPY_IGNORED_FILE = Rule(
    name="CopyIgnoredFile",
    description="Attempting to Copy file that is excluded by .dockerignore",
    detail=lambda verb, path: f"Attempting to {verb} file {quote(path)} that is excluded by .dockerignore",
)
INVALID_DEFINITION_DESCRIPTION = Rule(
    name="InvalidDefinitionDescription",
    description="Comment for build stage or argument should follow the format:"
    " `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty"
    " line or comment between the instruction and the comment.",
    detail=lambda keyword, name: f"Comment for {keyword} should follow the format: `# {name} <description>`",
    experimental=True,
)
EXPOSE_PROTO_CASING = Rule(
    name="ExposeProtoCasing",
    description="Protocol in EXPOSE instruction should be lowercase",
    detail=lambda port: f"Defined protocol '{port}' in EXPOSE instruction should be lowercase",
)
EXPOSE_INVALID_FORMAT = Rule(
    name="ExposeInvalidFormat",
    description="IP address and host-port mapping should not be used in EXPOSE instruction. This will become"
    " an error in a future release",
    detail=lambda port: (
        f"EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
    ),
)

RULES: dict[str, Rule] = {rule.name: rule for rule in list(globals().values()) if isinstance(rule, Rule)}
"""Every rule by its name."""
