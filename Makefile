# make setup   everything into .venv (VENV=path for another environment; an installed torch or detectron2 stays as it is)
# make demo    toy data, a small DiffusionDet, its evaluation and drawings in output/demo (d2road quickstart)
# make demo-video  a rendered traffic video to tracks, speeds, alarms and one page in output/demo_video (d2road quickstart --video)
# make teacher a teacher for EfficientAD, distilled offline from IMAGES="folder folder" or the toy images; it goes on where it
#              was, so other images need a folder of their own: OPTS="OUTPUT_DIR output/other"
# make peers   environments of other programs that tests compare with, in .peers (PEERS=path for another folder); without them those tests are skipped
# make test    ruff, import-linter, mypy and all tests (TEST_PROCESSES=2, some 2 GB each)
# make docs    the documentation as a site in output/site
# make fuzz    damaged files for every verb, at most 10 minutes
# make bench-* slow proofs; each finished run is kept under benchmarks/results/ and not repeated

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := $(VENV)/bin/python
TOY := datasets/toy_roadside
# Written last, so an interrupted rendering goes on.
TOY_DONE := $(TOY)/annotations/instances_val.json
TOY_LOCO := datasets/toy_loco
TOY_LOCO_DONE := $(TOY_LOCO)/fastener_kit/defects_config.json
SEEDS ?= 1
VARIANTS ?= readout state

.PHONY: setup peers demo demo-video teacher test lint docs extras clean bench-diffusion-toy bench-diffusion-toy3d bench-diffusion-overfit bench-words \
	bench-pose-overfit bench-transports bench-loss-gradients \
	bench-efficientad-screw bench-efficientad-loco bench-efficientad-mvtec bench-efficientad-traffic bench-traffic-rules \
	bench-second-road bench-traffic-networks bench-traffic-learned bench-traffic-streams bench-tracking bench-camera-view bench-camera-drift bench-traffic-video bench-efficientad-fusion \
	bench-patchcore-selection bench-patchcore-speed \
	bench-mono3dvg-toy bench-mono3dvg-written bench-mono3dvg-studies bench-mono3dvg-kitti bench-faults \
	bench-speed bench-growth bench-exported bench-score-stream bench-camera-seeing bench-custom-kitti3d \
	bench-video-memory bench-video-search \
	bench-camera-calibration bench-zoo bench-zoo-teachers bench-zoo-photographs bench-zoo-fasteners bench-zoo-traffic

setup: $(VENV)/.ready-dev

$(VENV)/.ready-%: pyproject.toml setup.py scripts/setup_env.sh
	VENV=$(VENV) PYTHON=$(PYTHON) bash scripts/setup_env.sh $*
	@touch $@

peers: setup
	VENV=$(VENV) bash scripts/make_peers.sh

demo: setup
	$(PY) -m d2road.cli quickstart --output output/demo

demo-video: setup
	$(PY) -m d2road.cli quickstart --video

$(TOY_DONE): | setup
	$(PY) -m d2road.cli make-data toy-roadside --output $(TOY) --seed 0

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(PY) -m mypy

# Files of tests are dealt out to so many processes of one thread each, dear ones first; where one of them dies, its test is named and all end.
TEST_PROCESSES ?= 2
test: lint
	$(PY) -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# 2,000 damaged and twisted files for every verb that reads files; the counts go to benchmarks/results/reliability/.
SEED ?= 0
fuzz: setup
	OMP_NUM_THREADS=1 $(PY) -m tests.fuzz --seed $(SEED) --record

docs: setup
	$(PY) -m pip install --quiet -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build

# Whether everything optional can be had together with what is installed; installs nothing.
extras: setup
	$(PY) -m pip install --quiet --dry-run ".[all]"

$(TOY_LOCO_DONE): | setup
	$(PY) -m d2road.cli make-data fastener-kit --output $(TOY_LOCO) --seed 0

# IMAGES="a b" becomes the tuple ('images:a','images:b',) of the config's syntax.
COMMA := ,
TEACHER_DATA = $(if $(IMAGES),DATASETS.TRAIN "($(foreach dir,$(IMAGES),'images:$(dir)'$(COMMA)))")

teacher: setup $(if $(IMAGES),,$(TOY_DONE) $(TOY_LOCO_DONE))
	$(PY) train_net.py --config-file configs/efficientad/teacher_small_lite0.yaml --resume $(TEACHER_DATA) $(OPTS)

bench-diffusion-toy: setup $(TOY_DONE)
	for seed in $(SEEDS); do $(PY) -m benchmarks.diffusion_det.diffusion_toy --seed $$seed || exit 1; done
	$(PY) -m benchmarks.diffusion_det.diffusion_toy --table

# VARIANTS="diffusion flow queries100 ..." of benchmarks/diffusion_det/transport_variants.py; on one thread, so that the
# time of a training does not hang on what runs beside it. START=imagenet_long on the whole schedule, START=detector from a
# trained backbone. WEIGHTS=... DATA=.../coco, or WEIGHTS=zoo:diffusion_det_toy
# CONFIG=diffusion_det/toy_roadside/effnet_lite0.yaml: what needs no training.
bench-transports: SEEDS = 1 2 3
bench-transports: VARIANTS = diffusion flow queries100
bench-transports: START = imagenet
bench-transports: export OMP_NUM_THREADS = 1
bench-transports: setup $(if $(WEIGHTS),,$(TOY_DONE))
	$(if $(WEIGHTS),$(PY) -m benchmarks.diffusion_det.transports --weights $(WEIGHTS) $(if $(DATA),--data $(DATA)) \
		$(if $(CONFIG),--config-file $(CONFIG)), \
	for seed in $(SEEDS); do for variant in $(VARIANTS); do \
		$(PY) -m benchmarks.diffusion_det.transports --train $$variant --seed $$seed --start $(START) || exit 1; \
		$(PY) -m benchmarks.diffusion_det.transports --evaluate $$variant --seed $$seed --start $(START) || exit 1; \
	done; done; $(PY) -m benchmarks.diffusion_det.transports --table --start $(START))

# Why MODEL.DiffusionDet.VELOCITY_WEIGHT is what it is.
bench-loss-gradients: setup $(TOY_DONE)
	for loss in set velocity; do $(PY) -m benchmarks.diffusion_det.loss_gradients --loss $$loss || exit 1; done

bench-diffusion-toy3d: setup $(TOY_DONE)
	for seed in $(SEEDS); do for variant in $(VARIANTS); do \
		$(PY) -m benchmarks.diffusion_det.diffusion_toy3d --variant $$variant --seed $$seed || exit 1; \
	done; done
	$(PY) -m benchmarks.diffusion_det.diffusion_toy3d --table

# Words as classes: colours and types are seen, some of their pairs are not. ARM=fold1, all, types, fold2 or fold3; all without
# it. SCHEDULE=long: twice as long, with the backbone as it is.
bench-words: SCHEDULE = short
bench-words: setup $(TOY_DONE)
	for seed in $(SEEDS); do \
		$(PY) -m benchmarks.diffusion_det.words_as_classes --seed $$seed --schedule $(SCHEDULE) $(if $(ARM),--arm $(ARM)) || exit 1; \
		for arm in groups $(or $(ARM),fold1); do \
			$(PY) -m benchmarks.diffusion_det.word_probe --seed $$seed --schedule $(SCHEDULE) --arm $$arm || exit 1; \
		done; \
	done
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.speed.speed_text_classifier --record speed

bench-diffusion-overfit: setup
	$(PY) -m benchmarks.diffusion_det.diffusion_overfit --data $(or $(DATA),$(error name the folder: make $@ DATA=.../coco_subset))

bench-pose-overfit: setup
	$(PY) -m benchmarks.diffusion_det.pose_overfit --data $(or $(DATA),$(error name the folder: make $@ DATA=.../kitti))

# Of EfficientAD: TEACHER=file of `make teacher` or a published one, STEPS=number, KEYS="KEY VALUE ..." of the config.
AUTOENCODERS ?= conv linear_attention softmax_attention
KINDS ?= linear_attention softmax_attention gated_linear_attention
GRID = conv-64 $(foreach size,64 256 0,$(KINDS:%=%-$(size)))
MVTEC_DATA = $(or $(DATA),$(error name the folder above the categories: make $@ DATA=.../mvtec_ad))
AD_OPTIONS = $(if $(TEACHER),--teacher $(TEACHER)) $(if $(STEPS),--steps $(STEPS)) $(KEYS)

bench-efficientad-screw: setup
	for seed in $(SEEDS); do for variant in memory_bank $(AUTOENCODERS); do \
		$(PY) -m benchmarks.efficientad.anomaly_screw --data $(MVTEC_DATA) --variant $$variant --seed $$seed $(AD_OPTIONS) \
		|| exit 1; \
	done; done

TOY_LOCO_TEACHER := output/efficientad/toy_loco_teacher/model_final.pth

$(TOY_LOCO_TEACHER): | $(TOY_DONE) $(TOY_LOCO_DONE)
	$(PY) train_net.py --config-file configs/efficientad/toy_loco/teacher.yaml --resume

bench-efficientad-loco: SEEDS = 1 2 3
bench-efficientad-loco: setup $(TOY_LOCO_TEACHER)
	for seed in $(SEEDS); do for variant in $(GRID); do \
		$(PY) -m benchmarks.efficientad.anomaly_loco --variant $$variant --seed $$seed $(AD_OPTIONS) || exit 1; \
	done; done

# PatchCore with the keys of its config, plain baselines and EfficientAD on any released data set, DATA=folder or name; with
# ANOMALIB=1 anomalib's own models too, after `make peers`.
MVTEC_VARIANTS ?= patchcore memory_bank padim pca linear_attention

bench-efficientad-mvtec: setup
	for seed in $(SEEDS); do $(PY) -m benchmarks.efficientad.anomaly_mvtec --data $(MVTEC_DATA) \
		--variant $(MVTEC_VARIANTS) --seed $$seed $(AD_OPTIONS) || exit 1; done
	$(if $(ANOMALIB),for seed in $(SEEDS); do PYTHONPATH=$(CURDIR) OMP_NUM_THREADS=1 $(PEER_PY) -W ignore -m benchmarks.efficientad.anomaly_mvtec \
		--data $(MVTEC_DATA) --variant anomalib_patchcore anomalib_padim --seed $$seed $(KEYS) || exit 1; done)

# Student on frozen features, autoencoder, bank and their fusion: FUSION_DATA="NAME NAME" of training sets, STEPS=number,
# STUDENT="CONFIG CONFIG" of the student of each.
FUSION_DATA ?= toy_loco/fastener_kit?held_out=0.2

bench-efficientad-fusion: setup $(TOY_LOCO_DONE)
	for seed in $(SEEDS); do for test in "" --test; do \
		$(PY) -m benchmarks.efficientad.anomaly_fusion --data $(foreach name,$(FUSION_DATA),"$(name)") --seed $$seed \
		$(if $(STEPS),--steps $(STEPS)) $(if $(STUDENT),--student $(STUDENT)) $$test || exit 1; \
	done; done

# Keys of PatchCore by defects pasted on good training images: SELECTION="NAME NAME" of training sets.
SELECTION ?= toy_loco/fastener_kit?held_out=0.25

bench-patchcore-selection: setup $(TOY_LOCO_DONE)
	$(PY) -m benchmarks.efficientad.patchcore_selection --data $(foreach name,$(SELECTION),"$(name)") --seed 0

# Coreset and scoring of PatchCore; against anomalib where `make peers` has been run. DATA=folder of images, else random ones.
PEERS ?= .peers
PEER_PY = $(or $(wildcard $(PEERS)/anomalib/bin/python),$(PY))

bench-patchcore-speed: setup
	PYTHONPATH=$(CURDIR) OMP_NUM_THREADS=1 $(PEER_PY) -W ignore -m benchmarks.speed.speed_patchcore --clock cpu $(if $(DATA),--data $(DATA)) \
		$(if $(RECORD),--record $(RECORD))

# The motorway of SUMO; INSPECT=folder of NGSIM I-80 adds real traffic without labels, FT_AED=file the crashes of FT-AED.
TRAFFIC := datasets/traffic_incidents
TRAFFIC_DONE := $(TRAFFIC)/motorway/defects_config.json
TRAFFIC_TEACHER := output/efficientad/traffic_teacher/model_final.pth
INSPECT ?= $(LOOK)
FT_AED_VARIANTS ?= pca patch_pca linear_attention
TRAFFIC_VARIANTS ?= rules isolation_forest pca patch_pca linear_attention conv softmax_attention gated_linear_attention

$(TRAFFIC_DONE): | setup
	$(PY) -m d2road.cli make-data traffic-incidents --output $(TRAFFIC) --seed 0 --good-hours 14

$(TRAFFIC_TEACHER): | $(TRAFFIC_DONE)
	$(PY) train_net.py --config-file configs/efficientad/traffic/teacher.yaml --resume

bench-efficientad-traffic: setup $(TRAFFIC_TEACHER)
	for seed in $(SEEDS); do for variant in $(TRAFFIC_VARIANTS); do \
		$(PY) -m benchmarks.traffic.traffic_benchmark --variant $$variant --seed $$seed $(AD_OPTIONS) || exit 1; \
	done; done
	$(if $(INSPECT),$(PY) -m benchmarks.traffic.traffic_benchmark --inspect $(INSPECT) --seed $(firstword $(SEEDS)) $(AD_OPTIONS))
	$(if $(FT_AED),for variant in $(FT_AED_VARIANTS); do $(PY) -m benchmarks.traffic.ft_aed_benchmark --data $(FT_AED) --variant $$variant \
		--seed $(firstword $(SEEDS)) $(AD_OPTIONS) || exit 1; done)

# Rules alone: 106 hours and 200 incidents are simulated, some two hours of a core; interrupted, it goes on.
RULES_HOURS ?= 50
bench-traffic-rules: setup
	$(PY) -m benchmarks.traffic.rules_benchmark --hours $(RULES_HOURS)

# The hours of the first road are those of bench-traffic-rules, with their tables for the watch over drift.
bench-second-road: setup
	$(PY) -m benchmarks.traffic.rules_benchmark --seed 1000 --fit-hours 6 --hours 5 --incidents 96 --keep-tables
	$(PY) -m benchmarks.traffic.rules_benchmark --hours $(RULES_HOURS) --keep-tables
	$(PY) -m benchmarks.traffic.second_road --first-hours $(RULES_HOURS)

bench-traffic-networks: setup
	$(PY) -m benchmarks.traffic.rules_benchmark --seed 1000 --fit-hours 6 --hours 5 --incidents 96 --keep-tables
	$(PY) -m benchmarks.traffic.network_study

# How fast clips are rendered.
bench-traffic-video: setup
	$(PY) -m benchmarks.traffic.clip_speed --clips 2 --seconds 15 --record clips

# Tracks on the clips of make-data traffic-video, against trackers in pixels; `make peers` first.
CLIPS ?= datasets/traffic_video
CALIBRATED ?= val_000 val_002
STUDIED ?= val_000 val_001 val_002 val_003
TRACKED ?= test_000 test_001 test_002 test_003 test_004 test_005
bench-tracking: setup
	$(PY) -m benchmarks.traffic.clip_predictions --clips $(CLIPS) --names $(STUDIED) $(TRACKED)
	PYTHONPATH=$(CURDIR) OMP_NUM_THREADS=1 $(PEERS)/tracking/bin/python -W ignore -m benchmarks.traffic.tracker_study \
		--clips $(CLIPS) --names $(STUDIED) --record
	for input in worsened detector; do PYTHONPATH=$(CURDIR) OMP_NUM_THREADS=1 $(PEERS)/tracking/bin/python -W ignore \
		-m benchmarks.traffic.tracking_benchmark --clips $(CLIPS) --input $$input --names $(TRACKED) --record || exit 1; done

# Forests, banks and forecasts of trajectories beside the rules; 3 GB of tables.
bench-traffic-learned: setup
	$(PY) -m benchmarks.traffic.rules_benchmark --seed 1000 --fit-hours 6 --hours 5 --incidents 96 --learned
	$(PY) -m benchmarks.traffic.rules_benchmark --hours $(RULES_HOURS) --learned

# Rules with a forecast, and networks on images, as streams on both roads.
bench-traffic-streams: setup
	$(PY) -m benchmarks.traffic.forecast_benchmark --hours $(RULES_HOURS)
	$(PY) -m benchmarks.traffic.network_streams
	$(PY) -m benchmarks.traffic.rate_curves

# What a camera's view and its seeing cost: interrupted, it goes on; SEEING=file of a model of seeing that was fitted, for
# whose rules EVENT_CLIPS clips with incidents are rendered, tracked and searched, too (a minute of a core each).
VIEW_HOURS ?= 13
EVENT_CLIPS ?= 24
bench-camera-view: setup
	$(PY) -m benchmarks.traffic.view_benchmark --hours $(VIEW_HOURS) $(if $(SEEING),--seeing $(SEEING))
	$(if $(SEEING),$(PY) -m benchmarks.traffic.alarm_culprits --record validation)
	$(if $(SEEING),$(PY) -m benchmarks.traffic.view_clips --count $(EVENT_CLIPS))
	$(if $(SEEING),$(PY) -m benchmarks.traffic.view_events --count $(EVENT_CLIPS) --record incidents)
	$(PY) -m benchmarks.traffic.view_tailgating --hours $(VIEW_HOURS) --record

# Questions about the clips of make-data traffic-video, with detections of benchmarks.traffic.clip_predictions.
SEARCH_CLIPS ?= test_000 test_001 test_003
bench-video-search: setup
	$(PY) -m benchmarks.traffic.clip_predictions --clips $(CLIPS) --names $(SEARCH_CLIPS)
	$(PY) -m benchmarks.traffic.video_search --clips $(CLIPS) --names $(SEARCH_CLIPS) --record test

# Whether a camera has moved; needs what bench-camera-view keeps, rendered clips, and folders of d2road track of them.
DRIFT_CLIPS ?= output/clips_hour
bench-camera-drift: setup
	$(PY) -m benchmarks.traffic.camera_drift tracks --part threshold
	$(PY) -m benchmarks.traffic.camera_drift tracks --part test
	$(PY) -m benchmarks.traffic.camera_drift frames --clips $(DRIFT_CLIPS) --tracked $(DRIFT_CLIPS)/tracked

# GROUNDING_VARIANTS="main unidirectional ..." of benchmarks/mono3dvg/grounding_toy.py.
TOY_GROUNDING := datasets/toy_grounding
TOY_GROUNDING_DONE := $(TOY_GROUNDING)/grounding_test.json
# 3000 more views to train on, from cameras of their own, for more_views alone; 5 minutes on two cores.
TOY_MORE := datasets/toy_roadside_more
TOY_GROUNDING_MORE_DONE := datasets/toy_grounding_more/grounding_train.json
GROUNDING_VARIANTS ?= more_views more_views_pretrained main no_presence data_sentences pretrained ablation_base text_conditioned_long text_conditioned unidirectional bidirectional \
	cross_attention mamba_fusion no_text_filter fusion_stages1 fusion_stages2 query no_relation minilm image_only text_only

$(TOY_GROUNDING_DONE): $(TOY_DONE) | setup
	$(PY) -m d2road.cli make-data toy-grounding --output $(TOY_GROUNDING) --toy $(TOY) --seed 0

$(TOY_GROUNDING_MORE_DONE): | setup
	$(PY) -m d2road.cli make-data toy-roadside --output $(TOY_MORE) --seed 1 --train 3000 --val 20
	$(PY) -m d2road.cli make-data toy-grounding --output $(@D) --toy $(TOY_MORE) --seed 1 --per-image 2

bench-mono3dvg-toy: setup $(TOY_GROUNDING_DONE) $(TOY_GROUNDING_MORE_DONE)
	for seed in $(SEEDS); do for variant in $(GROUNDING_VARIANTS); do \
		$(PY) -m benchmarks.mono3dvg.grounding_toy --variant $$variant --seed $$seed || exit 1; \
	done; done
	$(PY) -m benchmarks.mono3dvg.silence

bench-mono3dvg-written: setup $(TOY_GROUNDING_DONE)
	$(PY) -m benchmarks.mono3dvg.written_sentences

# Why figures of bench-mono3dvg-toy are what they are, on its validation views, and written sentences: of the models that it leaves.
GROUNDERS ?= more_views
bench-mono3dvg-studies: setup $(TOY_GROUNDING_DONE)
	$(PY) -m benchmarks.mono3dvg.heading_study --name mono3dvg_toy --weights zoo:mono3dvg_toy --config-file configs/mono3dvg/toy_grounding/demo.yaml
	for name in $(GROUNDERS); do for seed in $(SEEDS); do \
		$(PY) -m benchmarks.mono3dvg.perception_study --name $${name}_seed$$seed --config-file configs/mono3dvg/toy_grounding/$$name.yaml \
			--weights output/bench/mono3dvg_toy_$${name}_seed$$seed/model_final.pth || exit 1; \
		$(PY) -m benchmarks.mono3dvg.words_alone --name $${name}_labels_seed$$seed --config-file configs/mono3dvg/toy_grounding/$${name}_labels.yaml \
			--weights output/bench/mono3dvg_toy_$${name}_labels_seed$$seed/model_final.pth || exit 1; \
		$(PY) -m benchmarks.mono3dvg.written_sentences --name $${name}_seed$$seed --config-file configs/mono3dvg/toy_grounding/$$name.yaml \
			--weights output/bench/mono3dvg_toy_$${name}_seed$$seed/model_final.pth || exit 1; \
	done; done

bench-mono3dvg-kitti: setup
	$(PY) -m benchmarks.mono3dvg.grounding_overfit --data $(or $(DATA),$(error name the folder: make $@ DATA=.../kitti/training))
	$(PY) -m benchmarks.mono3dvg.kitti_language --data $(DATA)

# Runs killed, terminated, starved of space and disturbed, checkpoints damaged, streams replaced: docs/reliability.md.
bench-faults: setup
	$(PY) -m benchmarks.reliability.faults
	$(PY) -m benchmarks.reliability.faults --table

# Half an hour of video through tracking, drawing and writing, with the memory of each minute; STREAM=1: of a network stream
# that breaks, through the shipped detector (needs GStreamer's RTSP server).
bench-video-memory: setup
	$(PY) -m benchmarks.video.memory_over_time --minutes 30 $(if $(STREAM),--stream,--fps 2)

# The model zoo: what the targets below and bench-diffusion-toy, bench-mono3dvg-toy have trained (`d2road zoo info NAME` names
# the one) is packed, measured and listed in MODEL_ZOO.md; what cannot be is listed with what it needs first, and the target
# fails. ZOO="NAME NAME" for some of it, ZOO=--plan only says what could be.
bench-zoo: setup
	$(PY) -m benchmarks.zoo.rebuild $(ZOO)

NARROW_TEACHER := $(PY) train_net.py --config-file configs/efficientad/teacher_small_lite0.yaml --resume MODEL.EFFICIENT_AD.SIZE narrow \
	SOLVER.BASE_LR 0.002 MODEL.EFFICIENT_AD.DISTILL.STATISTICS_IMAGES 100
bench-zoo-teachers: setup $(TOY_DONE) $(TOY_LOCO_DONE)
	$(NARROW_TEACHER) SEED 0 SOLVER.MAX_ITER 1800 OUTPUT_DIR output/teacher_narrow_own

# Photographs are not ours: PHOTOGRAPHS=folder.
PHOTOGRAPHS_DATA = DATASETS.TRAIN "('images:$(or $(PHOTOGRAPHS),$(error name the folder: make $@ PHOTOGRAPHS=...))',)"
bench-zoo-photographs: setup
	$(NARROW_TEACHER) $(PHOTOGRAPHS_DATA) SEED 0 SOLVER.MAX_ITER 2400 OUTPUT_DIR output/teacher_narrow_photographs
	$(NARROW_TEACHER) $(PHOTOGRAPHS_DATA) SEED 1 SOLVER.MAX_ITER 4500 OUTPUT_DIR output/teacher_narrow_photographs_2 \
		MODEL.WEIGHTS output/teacher_narrow_photographs/model_final.pth

# 500 simulated cameras of each kind; then, with CLIPS=folder of `make-data traffic-video`, rendered ones.
bench-camera-calibration: setup
	$(PY) -m benchmarks.traffic.calibration_simulation
	$(PY) -m benchmarks.traffic.road_study --split val --clips 4 --record val
	$(PY) -m benchmarks.traffic.road_study --split test --clips 6 --record test
	$(if $(CLIPS),$(PY) -m benchmarks.traffic.calibration_clips --clips $(CLIPS))
	$(if $(CLIPS),$(PY) -m benchmarks.traffic.clip_predictions --clips $(CLIPS) --names $(CALIBRATED) --no-plane --every 2)
	$(if $(CLIPS),$(PY) -m benchmarks.traffic.calibration_clips --clips $(CLIPS) --predictions $(CLIPS)/pred)
	$(if $(CLIPS),$(PY) -m benchmarks.traffic.calibration_study --clips $(CLIPS) --predictions $(CLIPS)/pred --names val_000 val_002)
	$(if $(CLIPS),$(PY) -m benchmarks.traffic.calibration_ap --clips $(CLIPS) --names $(CALIBRATED))

bench-zoo-traffic: setup
	$(PY) -m benchmarks.zoo.traffic_rules
	$(PY) -m benchmarks.zoo.pack traffic_rules_forecast
	$(PY) -m benchmarks.zoo.page

# Time and memory against boxes, steps, sentences, words, pixels, vehicles and hours; what has a record is not measured again.
bench-growth: setup
	$(PY) -m benchmarks.speed.growth $(if $(AXES),--axes $(AXES) --again)

# The tables of docs/benchmarks.md but that of bench-patchcore-speed; on an idle machine, as times of a busy one compare with nothing.
TOY_CONFIG := configs/diffusion_det/toy_roadside/effnet_lite0.yaml
bench-speed: setup
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.speed.benchmark diffusion_det --what infer --boxes 100 300 --steps 1 4 --size 480x640 --runs 3 --record r50_infer_1_thread
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.speed.benchmark diffusion_det --what compare --boxes 300 --steps 1 4 --size 480x640 --runs 5 --record r50_compare_1_thread
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.speed.benchmark diffusion_det --config-file $(TOY_CONFIG) --what infer --boxes 100 --steps 1 4 --size 288x512 --record toy_infer_1_thread
	OMP_NUM_THREADS=2 $(PY) -m benchmarks.speed.benchmark diffusion_det --config-file $(TOY_CONFIG) --what train --batch 4 --boxes 60 --size 256x448 --runs 12 --warmup 3 --record toy_train_2_threads
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.speed.benchmark efficientad --what infer --clock cpu --runs 5 --warmup 1 --no-memory --record efficientad_small_1_thread_cpu
	OMP_NUM_THREADS=2 $(PY) -m benchmarks.speed.benchmark efficientad --what infer --runs 9 --warmup 1 --no-memory --record efficientad_small_infer_2_threads
	OMP_NUM_THREADS=2 $(PY) -m benchmarks.speed.benchmark efficientad --what infer --sizes medium --runs 5 --warmup 1 --no-memory --record efficientad_medium_infer_2_threads
	OMP_NUM_THREADS=2 $(PY) -m benchmarks.speed.benchmark efficientad --what train --runs 5 --warmup 1 --record efficientad_small_train_2_threads
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.speed all --threads 1 --runs 5 $(if $(NNCF),--nncf $(NNCF)) $(if $(BEFORE),--before $(BEFORE)) --record all_1_thread
	OMP_NUM_THREADS=2 $(PY) -m benchmarks.speed.speed_all --threads 2 --runs 3 $(if $(NNCF),--nncf $(NNCF)) $(if $(BEFORE),--before $(BEFORE)) --record all_2_threads
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.speed.benchmark mono3dvg --what infer text pixels --size 256x448 512x896 --sentences 1 8 32 --runs 3 --record mono3dvg_1_thread
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.speed.speed_state_space --record state_space_forward_1_thread
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.speed.speed_state_space --train --record state_space_train_1_thread
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.speed.speed_integer_products --record patchcore_integer_products_1_thread
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.speed.speed_linear_attention
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.speed.speed_kitti_eval --plain-frames 300
	$(PY) -m benchmarks.speed.speed_anomaly_eval --compare
	$(PY) -m benchmarks.speed.speed_allocator --rounds 3 --batch 4 --record allocator
	$(PY) -m benchmarks.speed.speed_trajectories --record trajectories
	$(PY) -m benchmarks.speed.speed_fcd --record fcd
	$(PY) -m benchmarks.speed.device_costs --record device_costs

# Exported models against the model itself, by engine and in 16 and 8 bits.
bench-exported: setup $(TOY_DONE) $(TOY_LOCO_DONE) $(TOY_GROUNDING_DONE)
	for engine in torch onnxruntime openvino; do \
		for steps in 1 4; do $(PY) -m benchmarks.diffusion_det.exported_detector --steps $$steps --engine $$engine --images 100 || exit 1; done; \
		$(PY) -m benchmarks.mono3dvg.exported_grounder --weights zoo:mono3dvg_toy --engine $$engine --sentences 50 || exit 1; \
	done
	$(PY) -m benchmarks.diffusion_det.exported_precision --images 200
	for model in efficientad patchcore; do $(PY) -m benchmarks.efficientad.exported_precision --model $$model --images 20 || exit 1; done
	$(PY) -m benchmarks.mono3dvg.exported_precision
	$(PY) -m benchmarks.diffusion_det.inference_precision --images 500 --steps 1 4
	$(PY) -m benchmarks.mono3dvg.inference_precision --every 2
	$(PY) -m benchmarks.efficientad.inference_precision

# A day of trajectories through a model that bench-efficientad-traffic has trained: WEIGHTS=FILE.
bench-score-stream: setup
	$(PY) -m benchmarks.traffic.stream_benchmark --hours 24 --weights $(or $(WEIGHTS),$(error name the model: make $@ WEIGHTS=.../model_final.pth))

# What detector and tracker see of filmed validation clips, with detections of benchmarks.traffic.clip_predictions; then the false alarms of
# a watch on rendered good traffic: QUIET=folder of `make-data traffic-video --no-incidents`, KIND/test/test_NNN in it, tracked by d2road track to QUIET/tracked/KIND_NNN.
SEEING_CLIPS ?= val_000 val_002
bench-camera-seeing: setup
	$(PY) -m benchmarks.traffic.view_seeing --clips $(CLIPS) --names $(SEEING_CLIPS)
	$(if $(QUIET),$(PY) -m benchmarks.traffic.view_rendered --clips $(QUIET) --tracked $(QUIET)/tracked --record hour)

bench-custom-kitti3d: setup
	$(PY) -m benchmarks.diffusion_det.custom_kitti3d_time --data $(or $(DATA),$(error name the folder: make $@ DATA=.../kitti/training))

bench-zoo-fasteners: setup $(TOY_LOCO_DONE)
	$(PY) train_net.py --config-file configs/efficientad/toy_loco/patchcore.yaml SEED 0

clean:
	rm -rf output build dist *.egg-info
