"""Checks the YAML files of this folder against the models of KServe's Python package.

Every field must be one that the model has, and none that it requires may be missing. Needs the packages `kserve`
(without its dependencies: `pip install --no-deps kserve`), `kubernetes` and `pyyaml`.
"""

import importlib
import importlib.util
import re
import sys
import types
from pathlib import Path

import yaml
from kubernetes.client import models as kubernetes_models


def kserve_models():
    """The models alone: the package itself imports servers and array libraries."""
    package = types.ModuleType("kserve")
    package.__path__ = list(importlib.util.find_spec("kserve").submodule_search_locations)
    sys.modules["kserve"] = package
    return importlib.import_module("kserve.models")


def model(name, where):
    found = getattr(where, name, None) or getattr(kubernetes_models, name, None)
    if found is None:
        raise ValueError(f"no model {name}")
    return found


def build(kind, value, where, path):
    """An instance of the model `kind`; raises ValueError where `value` is not one."""
    if inner := re.fullmatch(r"[lL]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            raise ValueError(f"{path} is not a list")
        return [build(inner[1], item, where, f"{path}[{number}]") for number, item in enumerate(value)]
    if inner := re.fullmatch(r"[dD]ict[(\[]str, (.+)[)\]]", kind):
        return {key: build(inner[1], item, where, f"{path}.{key}") for key, item in value.items()}
    primitive = {"str": str, "int": int, "bool": bool, "float": (int, float)}.get(kind)
    if primitive:
        if not isinstance(value, primitive):
            raise ValueError(f"{path} is {value!r}, not {kind}")
        return value
    if kind in ("object", "datetime"):
        return value
    schema = model(kind, where)
    names = {json: python for python, json in schema.attribute_map.items()}
    fields = {}
    for key, item in value.items():
        if key not in names:
            raise ValueError(f"{path} has no field {key}")
        fields[names[key]] = build(schema.openapi_types[names[key]], item, where, f"{path}.{key}")
    try:
        return schema(**fields)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def main():
    where = kserve_models()
    for file in sorted(Path(__file__).parent.glob("*.yaml")):
        document = yaml.safe_load(file.read_text())
        version = document["apiVersion"].split("/")[1]
        kind = version[0].upper() + version[1:] + document["kind"]
        build(kind, document, where, document["kind"])
        print(f"{file.name}: a valid {document['apiVersion']} {document['kind']}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"validate.py: {error}")
