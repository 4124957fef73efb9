"""Chinese grammar: surface realization of logical forms. Paraphrases with "~" are held out, see `paraphrases`.

Modifiers stand before their noun, those with another object in them first: what stands before that object then belongs
to it, and what follows to the target.
"""

from mono3dvg.language.grammar import Grammar
from mono3dvg.language.logical_forms import RELATIONS

# Nouns and their measure word.
NOUNS = {
    "car": (["轿车", "小汽车"], "辆"),
    "van": (["面包车", "厢式车"], "辆"),
    "truck": (["卡车", "货车"], "辆"),
    "bus": (["公交车", "大巴"], "辆"),
    "tram": (["有轨电车"], "辆"),
    "cyclist": (["骑车人", "~骑自行车的人"], "名"),
    "motorcyclist": (["摩托车手"], "名"),
    "tricyclist": (["骑三轮车的人"], "名"),
    "pedestrian": (["行人", "步行的人"], "名"),
    "person_sitting": (["坐着的人"], "名"),
    "vehicle": (["车辆", "~机动车"], "辆"),
    "road_user": (["交通参与者"], "个"),
}
NUMBERS = ("一", "两", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二")
ORDINALS = ("一", "二", *NUMBERS[2:])
FRAMES = ["{np}", "找到{np}", "{np}在哪里？", "请指出{np}", "定位{np}", "~标出{np}", "~我在找{np}"]
ALL = ["", "所有", "~全部"]
COLOR_NAMES = {
    "white": "白色", "black": "黑色", "silver": "银色", "grey": "灰色", "red": "红色", "blue": "蓝色", "green": "绿色",
    "yellow": "黄色", "orange": "橙色", "brown": "棕色",
}  # fmt: skip
SIZES = {"large": ["大型", "~长长的"], "small": ["小型", "~短短的"]}
COMPLEMENTS = {
    ("state", "parked"): ["停在路边", "~在路边停放"],
    ("state", "crossing"): ["正在过马路", "横穿道路", "~走在车道上"],
    ("heading", "away"): ["驶离相机", "朝远处前进", "~背对相机"],
    ("heading", "toward"): ["朝相机驶来", "迎面而来", "~正对相机"],
    ("heading", "left"): ["朝左行驶", "车头朝左", "~面向左侧"],
    ("heading", "right"): ["朝右行驶", "车头朝右", "~面向右侧"],
    ("hidden", True): ["被部分遮挡", "~有一部分看不见"],
    ("hidden", False): ["没有被遮挡", "~完全可见"],
    ("place", "left"): ["位于图像左侧", "在画面左边", "~靠左"],
    ("place", "middle"): ["位于图像中间", "在画面中央", "~居中"],
    ("place", "right"): ["位于图像右侧", "在画面右边", "~靠右"],
    ("range", "near"): ["离相机较近", "在近处", "~离得不远"],
    ("range", "far"): ["离相机很远", "在远处", "~离得很远"],
}
# People have no front that a car has.
_FACING = {
    ("heading", "left"): ["朝左走", "面朝左边", "~面向左侧"],
    ("heading", "right"): ["朝右走", "面朝右边", "~面向右侧"],
}
LANE = ["在从道路中间数第{o}条车道上", "位于离中线第{o}条车道", "~在由中间起第{o}车道内"]
DISTANCES = {
    "about": ["距离约{d}", "大约在{d}外", "~离相机{d}左右"],
    "under": ["距离不到{d}", "~在{d}以内"],
    "over": ["距离超过{d}", "~在{d}以外"],
}
UNIT_NAMES = {"m": ["{v}米"], "cm": ["{v}厘米"], "ft": ["{v}英尺"]}
RELATED = {
    "left_of": ["{a}左边", "{a}左侧", "~在{a}左方"],
    "right_of": ["{a}右边", "{a}右侧", "~在{a}右方"],
    "behind": ["{a}后面", "{a}后方", "~在{a}背后"],
    "in_front_of": ["{a}前面", "{a}前方", "~挡在{a}之前"],
    "next_to": ["{a}旁边", "紧挨着{a}", "~与{a}相邻"],
    "closer_than": ["比{a}更近", "~没有{a}那么远"],
    "farther_than": ["比{a}更远", "~没有{a}那么近"],
}
BETWEEN = ["{a}和{b}之间", "~夹在{a}与{b}中间"]
NEAREST = ["离{a}最近的{h}", "~与{a}距离最小的{h}"]
RANKS = {
    "near": (["离相机最近的{h}", "最近的{h}"], ["离相机第{o}近的{h}"], ["离相机最近的{n}{m}{h}", "最近的{n}{m}{h}"]),
    "far": (["离相机最远的{h}", "最远的{h}"], ["离相机第{o}远的{h}"], ["离相机最远的{n}{m}{h}", "最远的{n}{m}{h}"]),
    "left": (["最左边的{h}", "左起第一{m}{h}"], ["从左数第{o}{m}{h}", "~左起第{o}{m}{h}"], ["最左边的{n}{m}{h}"]),
    "right": (["最右边的{h}", "右起第一{m}{h}"], ["从右数第{o}{m}{h}", "~右起第{o}{m}{h}"], ["最右边的{n}{m}{h}"]),
    "long": (["最长的{h}"], ["第{o}长的{h}"], ["最长的{n}{m}{h}"]),
    "tall": (["最高的{h}"], ["第{o}高的{h}"], ["最高的{n}{m}{h}"]),
}
EXACTLY = ["恰好{n}{m}{np}", "总共{n}{m}{np}", "~不多不少{n}{m}{np}"]
_ORDER = ("state", "lane", "distance", "range", "place", "heading", "hidden", "not")


class Chinese(Grammar):
    """Realizes one form; a new one for each sentence."""

    ordinals, lane, distances, units, related, between = ORDINALS, LANE, DISTANCES, UNIT_NAMES, RELATED, BETWEEN

    def sentence(self, form: tuple, many: int) -> str:
        """The whole sentence; see `realization.realize`."""
        return self.pick(FRAMES).format(np=self.phrase(form, many))

    def phrase(self, form: tuple, many: int) -> str:
        """A noun phrase."""
        op = form[0]
        if op == "union":
            return f"{self.phrase(form[1], many & 1)}和{self.phrase(form[2], many >> 1)}"
        if op == "exactly":
            text = self._all(form[2])
            return self.pick(EXACTLY).format(n=NUMBERS[form[1] - 1], m=_measure_word(form[2]), np=text)
        if op == "rank":
            return self._rank(*form[1:])
        if op == "nearest":
            text = self._all(form[1])
            return self.pick(NEAREST).format(h=text, a=self.phrase(form[2], 0))
        return (self.pick(ALL) if many else "") + self._all(form)

    def _rank(self, key: str, first: int, last: int, inner: tuple) -> str:
        count = last - first + 1
        assert first == 1 or count == 1, "a rank is one place or the first few"
        modifiers, noun = self._parts(inner)
        paraphrase = self.pick(RANKS[key][2 if count > 1 else 0 if first == 1 else 1])
        rank = paraphrase.format(h=noun, m=_measure_word(inner), o=ORDINALS[first - 1], n=NUMBERS[count - 1])
        return f"{modifiers}{noun}当中{rank}" if modifiers else rank

    def _all(self, form: tuple) -> str:
        return "".join(self._parts(form))

    def _parts(self, form: tuple) -> tuple[str, str]:
        """("公交车左边的", "白色轿车") of ("all", ...)."""
        assert form[0] == "all", f"{form[0]} stands where a plain set is expected"
        predicates = form[1:]
        name = _class_of(form)
        with_objects = [p for p in predicates if p[0] in RELATIONS or p[0] == "between"]
        others = [p for op in _ORDER for p in predicates if p[0] == op]
        modifiers = "".join(f"{self._complement(p, name)}的" for p in (*with_objects, *others))
        words = [self.pick(SIZES[p[1]]) for p in predicates if p[0] == "size"]
        words += [COLOR_NAMES[p[1]] for p in predicates if p[0] == "color"]
        return modifiers, "".join(words) + self.pick(NOUNS[name][0])

    def _complement(self, form: tuple, name: str) -> str:
        op, *parts = form
        if op == "not":
            inner = parts[0]
            return f"不是{COLOR_NAMES[inner[1]]}" if inner[0] == "color" else f"并非{self._complement(inner, name)}"
        key = (op, parts[0])
        text = self.circumstance(form)
        return text or self.pick(_FACING[key] if key in _FACING and NOUNS[name][1] == "名" else COMPLEMENTS[key])


def _class_of(form: tuple) -> str:
    return next((p[1] for p in form[1:] if p[0] == "class"), "road_user")


def _measure_word(form: tuple) -> str:
    return NOUNS[_class_of(form)][1]
