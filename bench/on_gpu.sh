#!/usr/bin/env bash
# Everything that waits for a GPU, in one call: measure the kernels (bench/kernels.py), train the
# default recipe on all of CamVid and without each drive in turn, score each, and leave the weights
# under $OUT. Resumable: a second call with the runs of the first in $RUNS goes on where it stopped.
# Meant to take under ten minutes; not run yet.
#
#   OUT=DIR bash bench/on_gpu.sh               the kernels only
#   CAMVID=DIR OUT=DIR bash bench/on_gpu.sh    and the trainings
#
# Needs python3 with torch (CUDA), triton, numpy, opencv and tqdm; no ROS, no onnxruntime.
set -euo pipefail
cd "$(dirname "$0")/.."
CAMVID=${CAMVID:-} # folder with train/ trainannot/ val/ valannot/
OUT=${OUT:-gpu_out}
RUNS=${RUNS:-$OUT/runs}
RECIPE=${RECIPE:-camvid_code}
SETTINGS=${SETTINGS:-precision=bf16}
mkdir -p "$OUT" "$RUNS"

python3 - <<'PY'
import sys, torch
if not torch.cuda.is_available():
    sys.exit("no GPU here: the recipes also train on a CPU, see docs/training.md")
print(torch.cuda.get_device_name(), "torch", torch.__version__)
PY

export PYTHONPATH=.
echo '== tests of the kernels, on the GPU'
TRITON_INTERPRET=0 python3 -m pytest -q -c /dev/null --rootdir . --import-mode=importlib \
    test/training/kernels | tail -n 20 || true
if command -v compute-sanitizer >/dev/null; then
    echo '== memory errors and races of the kernels, on tiny sizes'
    compute-sanitizer --error-exitcode 9 python3 bench/kernels.py --tiny --out "$OUT" \
        >"$OUT/sanitizer.log" 2>&1 && echo clean || echo "not clean, or refused: $OUT/sanitizer.log"
fi
python3 bench/kernels.py --out "$OUT"
echo '== what the plugins launch, from compiled kernels through libcuda'
[ -d "$OUT/compiled" ] || python3 -m training.export.compile_kernels --classes 19 --out "$OUT/compiled" >"$OUT/resources.txt"
python3 bench/plugins_on_gpu.py --kernels "$OUT/compiled" || true
[ -n "$CAMVID" ] || exit 0

# The four trainings are small for a large GPU, so they share it.
train() { python3 -m training.train "$RECIPE" --root "$CAMVID" --runs "$RUNS" --threads 4 --set $SETTINGS "$@"; }
train >"$OUT/all.log" 2>&1 &
for drive in 0001TP 0006R0 0016E5; do
    train --leave-out "$drive" >"$OUT/without-$drive.log" 2>&1 &
done
failed=0
for job in $(jobs -p); do wait "$job" || failed=1; done

for run in "$RUNS"/*/; do
    name=$(basename "$run")
    mkdir -p "$OUT/weights"
    [ -f "$run/code/best.pt" ] && cp "$run/code/best.pt" "$OUT/weights/$name.pt"
done
echo '== last score of each stage (mIoU on val; errors removed for the code)'
for log in "$RUNS"/*/*/log.csv; do
    printf '%-60s %s\n' "${log#"$RUNS"/}" "$(awk -F, '$3 != "" {last = $3} END {print last}' "$log")"
done
echo '== kernels'
python3 bench/kernels.py --out "$OUT"
exit "$failed"
