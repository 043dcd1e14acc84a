"""The OpenRPC schemas of Ethereum's methods: read, put together, and held against requests and replies.

Two sources. `published` is what npm's @metamask/api-specs brings: the methods of execution-apis that wallets use.
`assembled` is the specification itself, from a clone of ethereum/execution-apis: methods and schemas in YAML.
"""

import json
import pathlib
import re

import jsonschema
import yaml

HERE = pathlib.Path(__file__).parent
PUBLISHED = HERE / "node_modules" / "@metamask" / "api-specs" / "dist" / "build" / "openrpc.json"
# Of the specification; its other folders are of the beacon chain's door and of test builds.
FOLDERS = ("eth", "debug", "txpool")


def published():
    whole = json.loads(PUBLISHED.read_text())
    return Specification("published", whole["methods"], whole["components"]["schemas"])


def assembled(clone):
    """Methods are lists of files; schemas are members of files."""
    source = pathlib.Path(clone) / "src"
    methods, schemas = [], {}
    for folder in FOLDERS:
        for file in sorted((source / folder).glob("*.yaml")):
            methods += yaml.safe_load(file.read_text())
    for file in sorted((source / "schemas").glob("*.yaml")):
        schemas |= yaml.safe_load(file.read_text())
    assert methods and schemas, f"{source} is no clone of ethereum/execution-apis"
    return Specification("assembled", methods, schemas)


class Specification:
    def __init__(self, name, methods, schemas):
        self.name = name
        self.methods = {method["name"]: method for method in methods}
        self.schemas = schemas

    def validator(self, schema):
        # References are pointers into the whole document.
        whole = {"components": {"schemas": self.schemas}, "allOf": [schema]}
        return jsonschema.Draft7Validator(whole)

    def asked(self, method, params):
        """What is wrong with a request."""
        wanted = self.methods[method]["params"]
        if len(params) > len(wanted):
            yield f"{method} has at most {len(wanted)} parameters"
        for place, parameter in enumerate(wanted):
            if place < len(params):
                for what in self.wrong(parameter["schema"], params[place]):
                    yield f"{parameter['name']}: {what}"
            elif parameter.get("required"):
                yield f"{parameter['name']} is missing"

    def answered(self, method, result):
        """What is wrong with a result: violations, and members that no schema knows."""
        schema = self.methods[method]["result"]["schema"]
        yield from self.wrong(schema, result)
        for path in self.unknown([schema], result, ()):
            yield f"{written(path)}: not in the specification"

    def wrong(self, schema, value):
        for error in self.validator(schema).iter_errors(value):
            for leaf in nearest(error):
                yield f"{written(leaf.absolute_path)}: {fault(leaf)}"

    def parts(self, schemas):
        """The schemas that these consist of, references followed."""
        found, todo = [], list(schemas)
        while todo:
            schema = todo.pop()
            if "$ref" in schema:
                todo.append(self.schemas[re.fullmatch("#/components/schemas/(.+)", schema["$ref"])[1]])
                continue
            found.append(schema)
            for word in ("allOf", "anyOf", "oneOf"):
                todo += schema.get(word, [])
        return found

    def unknown(self, schemas, value, path):
        """Paths of members that a schema with members does not have."""
        parts = self.parts(schemas)
        # One that says nothing allows everything: what a named tracer gives.
        if any(set(part) <= {"title", "description"} for part in parts):
            return
        if isinstance(value, list):
            items = [part["items"] for part in parts if "items" in part]
            for place, item in enumerate(value):
                yield from self.unknown(items, item, (*path, place))
        elif isinstance(value, dict):
            named = [part for part in parts if "properties" in part]
            free = [part["additionalProperties"] for part in parts if isinstance(part.get("additionalProperties"), dict)]
            for name, member in value.items():
                inner = [part["properties"][name] for part in named if name in part["properties"]]
                if not inner and named and not free:
                    yield (*path, name)
                else:
                    yield from self.unknown(inner or free, member, (*path, name))


def fault(error):
    """What is wrong, without the value that is."""
    rule, value = error.validator, error.instance
    match rule:
        case "required":
            return " and ".join(name for name in error.validator_value if name not in value) + " is missing"
        case "additionalProperties":
            return " and ".join(sorted(set(value) - set(error.schema.get("properties", {})))) + " is not in the schema"
        case "oneOf" if not error.context:
            return "more than one alternative fits"
        case "type":
            return f"{'null' if value is None else type(value).__name__} instead of {error.validator_value}"
        case _:
            return f"{rule} {error.validator_value}"


def nearest(error):
    """What is wrong, in the alternative that fits best where there are some: the right kind, fewest faults."""
    if not error.context:
        return [error]
    ways = {}
    for inner in error.context:
        ways.setdefault(inner.schema_path[0], []).extend(nearest(inner))

    def kind(leaf):
        # The value is something else altogether, or a transaction is one of another type.
        return leaf.validator == "type" and leaf.instance is not None or list(leaf.path)[-1:] == ["type"]

    return min(ways.values(), key=lambda leaves: (sum(map(kind, leaves)), len(leaves)))


def written(path):
    """A place in a reply, the same for every element of a list and every address."""
    names = ["*" if isinstance(part, int) or part.startswith("0x") or part.isdigit() else part for part in path]
    return ".".join(names) or "result"
