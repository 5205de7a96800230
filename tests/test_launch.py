"""The scripts of launch/: what they would run, and that they survive preemption."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
SCRIPTS = sorted(path.name for path in LAUNCH.glob("*.sh"))
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
RUN = ("--config", "configs/demo.py", "--workdir", "runs/a b")


def call(script, *words, **environment):
    """Run a script with nothing of this machine's settings."""
    kept = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(
        ["bash", LAUNCH / script, *words],
        env=kept | environment,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def dry(script, *words, **environment):
    """Return what a dry run prints, command by command, and see that it ran none."""
    done = call(script, "--dry-run", *words, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def remote(line):
    """Return the shell text that a printed gcloud command runs on the machine."""
    # $'...' is bash's own quoting: bash undoes it.
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True
    ).stdout.split("\0")
    (found,) = [w for w in words if w.startswith("--command=")]
    return found.removeprefix("--command=")


def stand_in(folder, name, text):
    """Put a program into `folder` that plays `name`."""
    path = folder / name
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


def check_shell(text, exclude="SC1000"):
    command = [SHELLCHECK, "--shell=bash", f"--exclude={exclude}", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing(script):
    done = subprocess.run([SHELLCHECK, LAUNCH / script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_shellcheck_would_find_something():
    with pytest.raises(AssertionError, match="SC2086"):
        check_shell("rm $file")


def test_scripts_are_short_and_can_be_run():
    assert SCRIPTS == ["kubernetes.sh", "slurm.sh", "tpu_vm.sh"]
    for path in [LAUNCH / "kubernetes.yaml", *(LAUNCH / name for name in SCRIPTS)]:
        assert len(path.read_text().splitlines()) < 120, path
        assert path.suffix == ".yaml" or os.access(path, os.X_OK), path


@pytest.mark.parametrize(
    "script, words",
    [
        *((script, []) for script in SCRIPTS),
        *((script, ["--dry-run"]) for script in SCRIPTS),
        *((script, ["run"]) for script in ("tpu_vm.sh", "kubernetes.sh")),
        *((script, ["logs", "x", "y"]) for script in ("tpu_vm.sh", "kubernetes.sh")),
    ],
)
def test_says_how_to_use_it(script, words):
    done = call(script, *words)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"usage: launch/{script}")


@pytest.mark.parametrize(
    "script, words, program",
    [
        ("tpu_vm.sh", ["create", "x"], "gcloud"),
        ("slurm.sh", ["--config", "x"], "sbatch"),
        ("kubernetes.sh", ["logs", "x"], "kubectl"),
    ],
)
def test_a_missing_program_is_one_line(script, words, program, tmp_path):
    for needed in ("bash", "dirname"):
        (tmp_path / needed).symlink_to(f"/usr/bin/{needed}")
    done = call(script, *words, PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {program} not found")
    assert len(done.stderr.splitlines()) == 1


def test_tpu_create_and_delete():
    flags = {"TPU_TYPE": "v5litepod-16", "TPU_FLAGS": "--spot --network=n"}
    printed = dry("tpu_vm.sh", "create", "t", TPU_ZONE="z", **flags)
    assert shlex.split(printed) == [
        *"gcloud compute tpus tpu-vm create t --accelerator-type=v5litepod-16".split(),
        *"--version=v2-alpha-tpuv5-lite --spot --network=n --zone=z".split(),
    ]
    assert shlex.split(dry("tpu_vm.sh", "delete", "t")) == (
        "gcloud compute tpus tpu-vm delete t --zone=us-central1-a".split()
    )


@pytest.mark.parametrize(
    "kind, several",
    [
        *(("v5litepod-8", False), ("v5litepod-16", True), ("v4-8", False)),
        *(("v4-16", True), ("v6e-1", False), ("v2-32", True)),
    ],
)
def test_tpu_slices_of_several_hosts_run_on_all_of_them(kind, several):
    printed = dry("tpu_vm.sh", "run", "t", *RUN, TPU_TYPE=kind)
    assert ("--worker=all" in printed) == several
    assert ("--distributed" in printed) == several
    assert ("--worker=all" in dry("tpu_vm.sh", "logs", "t", TPU_TYPE=kind)) == several
    setup = dry("tpu_vm.sh", "setup", "t", TPU_TYPE=kind).splitlines()
    on_vm = [line for line in setup if line.startswith("gcloud")]
    assert [("--worker=all" in line) for line in on_vm] == [several] * 2


@pytest.mark.parametrize("bucket", ["", "gs://my-bucket"])
def test_what_tpu_runs_remotely_is_sound_shell(bucket):
    setup = dry("tpu_vm.sh", "setup", "t", TPU_BUCKET=bucket).splitlines()[-1]
    run = dry("tpu_vm.sh", "run", "t", *RUN, TPU_BUCKET=bucket)
    for text in (remote(setup), remote(run), remote(dry("tpu_vm.sh", "logs", "t"))):
        # SC2157: a test of the bucket's name, a constant by then; SC2164: `cd`.
        check_shell(text, "SC2157,SC2164")
    assert ("'my-bucket'" in remote(run)) == bool(bucket)


def test_a_bucket_is_a_name():
    done = call("tpu_vm.sh", "--dry-run", "run", "t", "x", TPU_BUCKET="a'; rm -rf b'")
    assert done.returncode == 2


def remote_run(tmp_path, *codes, words=RUN):
    """Play the VM: tmux runs the command, main exits with `codes` in turn."""
    home, bin_folder = tmp_path / "vm", tmp_path / "bin"
    (home / "msa_jax" / ".venv" / "bin").mkdir(parents=True)
    bin_folder.mkdir()
    stand_in(
        home / "msa_jax" / ".venv" / "bin",
        "python",
        f'for w in "$@"; do echo "<$w>"; done; echo x >>count\n'
        f"set -- {' '.join(map(str, codes))}\n"
        'n=$(wc -l <count); exit "${!n}"',
    )
    stand_in(
        bin_folder,
        "tmux",
        '[ "$1" = new-session ] && exec sh -c "${@: -1}" >/dev/null\nexit 1',
    )
    text = remote(dry("tpu_vm.sh", "run", "t", *words))
    return subprocess.run(
        ["bash", "-c", text],
        cwd=home,
        env={"PATH": f"{bin_folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "codes, runs, end", [((0,), 1, 0), ((75, 75, 0), 3, 0), ((2,), 1, 2), ((1,), 1, 1)]
)
def test_tpu_starts_again_what_was_stopped_and_says_how_it_ended(
    tmp_path, codes, runs, end
):
    done = remote_run(tmp_path, *codes)
    assert done.returncode == end, done.stderr
    assert done.stdout.count("<runs/a b>") == runs
    assert (tmp_path / "vm" / "msa_jax" / "count").read_text() == "x\n" * runs


def test_slurm_submits_itself():
    printed = dry("slurm.sh", *RUN, MSA_GPUS="4", MSA_SBATCH="--partition=gpu -A me")
    submitted, _, inside = printed.splitlines()
    words = shlex.split(submitted)
    assert words[0] == "sbatch" and words[-4:] == list(RUN)
    assert words[words.index("--inside") - 1] == str(LAUNCH / "slurm.sh")
    for word in (
        "--requeue --signal=B:TERM@120 --open-mode=append --nodes=1 --gpus-per-node=4 "
        "--partition=gpu -A me"
    ).split():
        assert word in words
    assert shlex.split(inside) == [".venv/bin/python", "-m", "msa_jax.main", *RUN]


def test_slurm_on_several_nodes_is_one_process_each():
    inside = shlex.split(dry("slurm.sh", *RUN, MSA_NODES="2").splitlines()[-1])
    assert inside[:2] == ["srun", "--ntasks-per-node=1"]
    assert inside[-5:] == [*RUN, "--distributed"]


def in_job(tmp_path, python, nodes=1, **environment):
    """Start the script as SLURM does, with stand-ins for SLURM and Python."""
    bin_folder, venv = tmp_path / "bin", tmp_path / ".venv" / "bin"
    bin_folder.mkdir()
    venv.mkdir(parents=True)
    log = tmp_path / "log"
    stand_in(venv, "python", python)
    stand_in(bin_folder, "sleep", '[ "$1" = 60 ] || exec /bin/sleep "$@"')
    stand_in(bin_folder, "scontrol", f'echo "scontrol $*" >>{log}')
    stand_in(
        bin_folder,
        "srun",
        f'echo $$ >{tmp_path}/step\nwhile [[ $1 == --*=* ]]; do shift; done\nexec "$@"',
    )
    stand_in(
        bin_folder,
        "scancel",
        f'echo "scancel $*" >>{log}; kill -TERM "$(cat {tmp_path}/step)"',
    )
    given = {"SLURM_JOB_NUM_NODES": str(nodes), "SLURM_JOB_ID": "7"} | environment
    return subprocess.Popen(
        ["bash", LAUNCH / "slurm.sh", "--inside", *RUN],
        cwd=tmp_path,
        env={"PATH": f"{bin_folder}:{os.environ['PATH']}"} | given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ), log


STOPPABLE = """
trap 'echo saving; sleep .3; echo saved >state; exit 75' TERM
echo started
while :; do sleep .05; done
"""


@pytest.mark.parametrize("nodes", [1, 2])
def test_slurm_hands_the_signal_on_and_requeues(tmp_path, nodes):
    job, log = in_job(tmp_path, STOPPABLE, nodes)
    assert job.stdout.readline() == "started\n"
    job.send_signal(signal.SIGTERM)
    out, errors = job.communicate(timeout=60)
    assert (tmp_path / "state").read_text() == "saved\n", errors
    assert out == "saving\nsaved; back into the queue\n"
    expected = ["scancel --signal=TERM 7"] * (nodes > 1) + ["scontrol requeue 7"]
    assert log.read_text().splitlines() == expected


@pytest.mark.parametrize("nodes", [1, 2])
def test_slurm_loses_no_signal_while_the_training_starts(tmp_path, nodes):
    """Here the training itself sends the job's signal, as the first thing it does."""
    early = STOPPABLE.replace("echo started", "kill -TERM $PPID")
    job, _ = in_job(tmp_path, early, nodes)
    out, errors = job.communicate(timeout=60)
    assert out == "saving\nsaved; back into the queue\n", errors


@pytest.mark.parametrize("code", [0, 1, 2, 143])
def test_slurm_requeues_nothing_else(tmp_path, code):
    job, log = in_job(tmp_path, f"exit {code}")
    job.communicate(timeout=60)
    assert job.returncode == code and not log.exists()


def test_slurm_does_not_requeue_for_ever(tmp_path):
    restarts = {"SLURM_RESTART_COUNT": "3", "MSA_RESTARTS": "3"}
    job, log = in_job(tmp_path, "exit 75", **restarts)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 75 and not log.exists()
    assert errors == "error: stopped after 3 restarts; submit again\n"


def kubernetes(*words, **environment):
    printed = dry(
        "kubernetes.sh",
        "run",
        "my-run",
        *words,
        MSA_IMAGE="r.io/m/msa:1",
        **environment,
    )
    return {part["kind"]: part for part in yaml.safe_load_all(printed)}


def test_kubernetes_job():
    odd = ["--workdir", 'a "b" \\ & ${NAME} $HOME', "--config.data.name=it's"]
    parts = kubernetes(*odd, MSA_GPUS="8", MSA_CLAIM="disk")
    assert sorted(parts) == sorted(
        ["Job", "Role", "RoleBinding", "Service", "ServiceAccount"]
    )
    assert {part["metadata"]["name"] for part in parts.values()} == {"my-run"}
    job = parts["Job"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    # `${NAME}` in an argument is an argument, not a placeholder.
    assert container["args"] == odd
    assert container["command"] == ["python", "-m", "msa_jax.main"]
    assert container["image"] == "r.io/m/msa:1"
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "disk"}
    assert (job["completions"], job["parallelism"]) == (1, 1)
    assert pod["terminationGracePeriodSeconds"] >= 60
    assert "${" not in yaml.dump(parts).replace("${NAME} $HOME", "")


def test_kubernetes_replaces_stopped_pods_and_ends_at_mistakes():
    job = kubernetes(*RUN)["Job"]["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # the policy needs it
    rules = job["podFailurePolicy"]["rules"]
    by_code = {
        code: rule["action"]
        for rule in rules
        for code in rule.get("onExitCodes", {}).get("values", [])
    }
    assert by_code == {75: "Ignore", 2: "FailJob"}
    (preempted,) = [rule for rule in rules if "onPodConditions" in rule]
    assert preempted["action"] == "Ignore"
    assert preempted["onPodConditions"] == [{"type": "DisruptionTarget"}]


def test_kubernetes_on_several_nodes():
    parts = kubernetes(*RUN, MSA_NODES="2")
    job = parts["Job"]["spec"]
    pod = job["template"]["spec"]
    assert (job["completions"], job["completionMode"]) == (2, "Indexed")
    assert pod["containers"][0]["args"] == [*RUN, "--distributed"]
    # What jax.distributed asks for: a headless service that is the pods' subdomain.
    service = parts["Service"]
    assert service["spec"]["clusterIP"] == "None"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": "my-run"}
    asked = {
        (resource, verb)
        for rule in parts["Role"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {("pods", "list"), ("services", "list"), ("jobs", "get")} <= asked


@pytest.mark.parametrize(
    "words, environment",
    [
        (["run", "My_Run", *RUN], {}),
        (["run", "x" * 60, *RUN], {}),
        (["run", "a", *RUN], {"MSA_IMAGE": ""}),
        (["run", "a", *RUN], {"MSA_IMAGE": 'x"\n'}),
        (["run", "a", *RUN], {"MSA_NODES": "two"}),
        (["run", "a", *RUN], {"MSA_CLAIM": "a b"}),
    ],
)
def test_kubernetes_refuses_what_would_garble_the_job(words, environment):
    done = call(
        "kubernetes.sh", "--dry-run", *words, **{"MSA_IMAGE": "i"} | environment
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ")
