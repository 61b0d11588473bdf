#!/usr/bin/env bash
# Everything that waits for a GPU, in one call of less than ten minutes: the kernels (tests,
# compute-sanitizer, times), what the plugins launch, the default model under a CUDA graph; then, as
# far as the time goes, the trainings of the default recipe. Every part that is finished is left out
# by the next call with the same $WORK, which goes on where this one stopped; the table comes last.
# Never run on a GPU yet.
#
#   OUT=DIR bash bench/on_gpu.sh               the kernels only
#   CAMVID=DIR OUT=DIR bash bench/on_gpu.sh    and the trainings
#   TINY=1 TRITON_INTERPRET=1 OUT=DIR bash bench/on_gpu.sh    does it run at all? on a CPU
#
# $OUT gets a few small files (report.txt, kernels.json, sanitizer-*.log, weights); $WORK (default
# build/on_gpu) what the next call needs. Needs python3 with torch (CUDA), triton, numpy, opencv and
# tqdm, and pytest for the tests; no ROS, no onnxruntime.
set -uo pipefail
cd "$(dirname "$0")/.."
CAMVID=${CAMVID:-} # folder with train/ trainannot/ val/ valannot/
OUT=${OUT:-gpu_out}
WORK=${WORK:-build/on_gpu}
RECIPE=${RECIPE:-camvid_code}
SETTINGS=${SETTINGS:-precision=bf16}
SECONDS_IN_ALL=${SECONDS_IN_ALL:-570}
TINY=${TINY:-}
export PYTHONPATH=. TRITON_INTERPRET=${TRITON_INTERPRET:-0}
mkdir -p "$OUT" "$WORK"
exec > >(tee "$OUT/report.txt") 2>&1

left() { # at least a second: 0 would be for ever
    local seconds=$((SECONDS_IN_ALL - SECONDS))
    echo $((seconds > 1 ? seconds : 1))
}

# part NAME COMMAND...: run it unless an earlier call has, in what time is left, and go on whatever
# comes of it.
part() {
    local name=$1 code
    shift
    if [ -f "$WORK/$name.done" ]; then
        cat "$WORK/$name.log"
        return
    fi
    echo "== $name"
    timeout "$(left)" "$@" >"$WORK/$name.log" 2>&1
    code=$?
    tail -n 40 "$WORK/$name.log"
    case $code in
    0) touch "$WORK/$name.done" ;;
    *) echo "$name: exit $code$([ $code = 124 ] && echo ', out of time: call again')" ;;
    esac
}

here() {
    python3 - <<'PY'
import torch
if not torch.cuda.is_available():
    raise SystemExit("no GPU here: TINY=1 TRITON_INTERPRET=1 shows on a CPU whether this runs")
print(torch.cuda.get_device_name(), "torch", torch.__version__)
PY
}

sanitized() {
    if ! command -v compute-sanitizer >/dev/null; then
        echo "no compute-sanitizer here (CUDA toolkit): memory errors and races are not looked for"
        return
    fi
    local tool failed=0
    for tool in memcheck racecheck; do
        # Its hooks and the profiler's exclude each other.
        PROFILED=0 compute-sanitizer --tool "$tool" --error-exitcode 9 python3 bench/kernels.py \
            --tiny --out "$(mktemp -d)" >"$OUT/sanitizer-$tool.log" 2>&1 &&
            echo "$tool: clean" || { echo "$tool: not clean, or refused" && failed=1; }
    done
    return $failed
}

compiled() {
    TRITON_INTERPRET=0 python3 -m training.export.compile_kernels --classes 19 --out "$WORK/compiled"
}

# The trainings are small for a large GPU, so they share it; each resumes where it was stopped.
trained() {
    local failed=0 drive job
    train() { python3 -m training.train "$RECIPE" --root "$CAMVID" --runs "$WORK/runs" --threads 4 "$@" --set $SETTINGS; }
    train >"$WORK/all.log" 2>&1 &
    for drive in 0001TP 0006R0 0016E5; do
        train --leave-out "$drive" >"$WORK/without-$drive.log" 2>&1 &
    done
    for job in $(jobs -p); do wait "$job" || failed=1; done
    return $failed
}

weights() {
    python3 - "$WORK/runs" "$OUT" <<'PY'
import csv, sys
from pathlib import Path
import torch
runs, out = map(Path, sys.argv[1:])
for log in sorted(runs.glob("*/*/log.csv")):
    scores = [row[2] for row in csv.reader(log.open()) if len(row) > 2 and row[2]]
    print(f"{log.parent.relative_to(runs)}: last score on val {scores[-1] if scores else 'none'}")
for best in sorted(runs.glob("*/code/best.pt")):
    state = torch.load(best, map_location="cpu", weights_only=True)["model"]
    half = {name: x.half() if x.is_floating_point() else x for name, x in state.items()}
    torch.save({"model": half}, out / f"{best.parent.parent.name}.pt")  # as the export rounds them
PY
}

[ -n "$TINY" ] || here || exit 1
tests=(python3 -m pytest -q -c /dev/null --rootdir . --confcutdir test/training/kernels
    --import-mode=importlib test/training/kernels ${TINY:+-k refuse})
PYTHONPATH=.:test part tests "${tests[@]}"
export -f sanitized compiled trained && export OUT WORK RECIPE SETTINGS CAMVID
part sanitizer bash -c sanitized
part compile bash -c compiled
[ -n "$TINY" ] || part plugins python3 bench/plugins_on_gpu.py --kernels "$WORK/compiled"
part kernels python3 bench/kernels.py --out "$WORK" ${TINY:+--tiny}
if [ -n "$CAMVID" ]; then
    part trainings bash -c trained
    weights
fi
cp "$WORK"/kernels*.json "$OUT"
echo '== the table'
tail -n +1 "$WORK/kernels.log"
