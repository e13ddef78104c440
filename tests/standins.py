"""Small stand-ins for published corpora in their exact layouts, with tones for speech."""

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile


def tone(seconds: float = 0.4, rate: int = 16_000, channels: int = 1) -> np.ndarray:
    """(samples,) or (samples, channels) of a sine whose pitch depends on its length."""
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * (200 + 100 * seconds) * time)
    return wave if channels == 1 else np.stack([wave] * channels, 1)


def sound(path: Path, seconds: float = 0.4, rate: int = 16_000, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds, rate, channels), rate)


def note(path: Path, content: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)


@dataclass(frozen=True)
class Expected:
    """What a loader must make of a stand-in.

    utterances: id -> (speaker, text, role, condition); aside: id -> words of the reason; recipes: id -> entries;
    machine: texts are a recogniser's.
    """

    utterances: dict[str, tuple[str, str, str, str]]
    aside: dict[str, str] = field(default_factory=dict)
    recipes: dict[str, dict] = field(default_factory=dict)
    machine: bool = False


def vctk(root: Path) -> Expected:
    base = root / "VCTK-Corpus-0.92"
    audio = base / "wav48_silence_trimmed"
    note(base / "speaker-info.txt", "ID  AGE  GENDER  ACCENTS  REGION\np225  23  F    English    Southern  England\n")
    for speaker in ("p225", "p226"):
        note(base / "txt" / speaker / f"{speaker}_001.txt", "Please call Stella.\n")
        note(base / "txt" / speaker / f"{speaker}_002.txt", f"Ask her to bring {speaker[2:]} things.\n")
        for name in ("001", "002"):
            for microphone in ("mic1", "mic2"):
                sound(audio / speaker / f"{speaker}_{name}_{microphone}.flac", rate=48_000)
    sound(audio / "p315" / "p315_001_mic1.flac", rate=48_000)
    return Expected(
        {
            "p225_001": ("p225", "Please call Stella.", "adaptation", "typical"),
            "p226_001": ("p226", "Please call Stella.", "never_seen", "typical"),
            "p226_002": ("p226", "Ask her to bring 26 things.", "never_seen", "typical"),
        },
        {"p315_001": "no such transcript"},
        {"p225_001": {"age": "23", "gender": "F", "accent": "English"}},
    )


def librispeech(root: Path) -> Expected:
    for subset, speaker, words in (
        ("train-clean-100", "103", "CHAPTER ONE"),
        ("dev-clean", "84", "GO, HE SAID"),
        ("test-other", "367", "LET ME SEE"),
    ):
        chapter = root / "LibriSpeech" / subset / speaker / "7"
        sound(chapter / f"{speaker}-7-0000.flac")
        sound(chapter / f"{speaker}-7-0001.flac")
        note(chapter / f"{speaker}-7.trans.txt", f"{speaker}-7-0000 {words}\n")
    return Expected(
        {
            "103-7-0000": ("103", "chapter one", "pretraining", "typical"),
            "84-7-0000": ("84", "go, he said", "adaptation", "typical"),
            "367-7-0000": ("367", "let me see", "never_seen", "typical"),
        },
        {"84-7-0001": "84-7.trans.txt: no transcript of 84-7-0001"},
        {"84-7-0000": {"subset": "dev-clean"}},
    )


def libritts(root: Path) -> Expected:
    for subset, speaker in (("train-clean-100", "103"), ("dev-clean", "84"), ("test-clean", "908")):
        chapter = root / "LibriTTS" / subset / speaker / "1"
        for name in (f"{speaker}_1_000000_000001", f"{speaker}_1_000000_000002"):
            sound(chapter / f"{name}.wav", rate=24_000)
        note(chapter / f"{speaker}_1_000000_000001.normalized.txt", f"Mister {speaker} came in.")
        note(chapter / f"{speaker}_1_000000_000001.original.txt", f"Mr. {speaker} came in.")
    return Expected(
        {
            "103_1_000000_000001": ("103", "Mister 103 came in.", "pretraining", "typical"),
            "84_1_000000_000001": ("84", "Mister 84 came in.", "adaptation", "typical"),
            "908_1_000000_000001": ("908", "Mister 908 came in.", "never_seen", "typical"),
        },
        {"103_1_000000_000002": "103_1_000000_000002.normalized.txt: no such transcript"},
    )


def ljspeech(root: Path) -> Expected:
    base = root / "LJSpeech-1.1"
    note(base / "metadata.csv", "LJ001-0001|In 1440|In fourteen forty\nLJ001-0002|It was old.|It was old.\n")
    sound(base / "wavs" / "LJ001-0001.wav", rate=22_050)
    return Expected(
        {"LJ001-0001": ("LJ", "In fourteen forty", "pretraining", "typical")},
        {"LJ001-0002": "LJ001-0002.wav: no such file"},
    )


def esd(root: Path) -> Expected:
    base = root / "Emotion Speech Dataset"
    for speaker in ("0001", "0011", "0020"):
        rows = "".join(
            f"{speaker}_{name}\tThe nine the eggs, I keep.\t{style}\n"
            for name, style in (("000001", "Neutral"), ("000351", "Angry"))
        )
        note(base / speaker / f"{speaker}.txt", rows, "utf-16" if speaker == "0020" else "utf-8")
        sound(base / speaker / "Neutral" / f"{speaker}_000001.wav")
        sound(base / speaker / "Angry" / "train" / f"{speaker}_000351.wav")
        sound(base / speaker / "Sad" / f"{speaker}_000999.wav")
    return Expected(
        {
            "0011_000001": ("0011", "The nine the eggs, I keep.", "adaptation", "typical"),
            "0020_000351": ("0020", "The nine the eggs, I keep.", "never_seen", "typical"),
        },
        {"0011_000999": "0011.txt: no transcript of 0011_000999"},
        {"0020_000351": {"style": "Angry"}},
    )


def ravdess(root: Path) -> Expected:
    sound(root / "Actor_01" / "03-01-05-02-01-02-01.wav", rate=48_000)
    sound(root / "Actor_01" / "03-02-05-02-01-02-01.wav", rate=48_000)
    sound(root / "Actor_24" / "03-01-01-01-02-01-24.wav", rate=48_000, channels=2)
    return Expected(
        {
            "03-01-05-02-01-02-01": ("01", "Kids are talking by the door.", "adaptation", "typical"),
            "03-01-01-01-02-01-24": ("24", "Dogs are sitting by the door.", "never_seen", "typical"),
        },
        recipes={"03-01-05-02-01-02-01": {"style": "angry", "intensity": "strong", "repetition": 2, "gender": "M"}},
    )


def expresso(root: Path) -> Expected:
    base = root / "expresso"
    note(
        base / "read_transcriptions.txt",
        "ex01_confused_00001\tAre you *sure*?\nex04_default_emphasis_00002\tThat is *mine*.\n",
    )
    read = base / "audio_48khz" / "read"
    sound(read / "ex01" / "confused" / "base" / "ex01_confused_00001.wav", rate=48_000)
    sound(read / "ex04" / "default" / "base" / "ex04_default_emphasis_00002.wav", rate=48_000)
    sound(read / "ex04" / "default" / "longform" / "ex04_default_longform_00001.wav", rate=48_000)
    sound(base / "audio_48khz" / "conversational" / "ex01-ex02" / "sad" / "ex01-ex02_sad_001.wav", channels=2)
    return Expected(
        {
            "ex01_confused_00001": ("ex01", "Are you sure?", "adaptation", "typical"),
            "ex04_default_emphasis_00002": ("ex04", "That is mine.", "never_seen", "typical"),
        },
        {"ex04_default_longform_00001": "no transcript"},
        {"ex04_default_emphasis_00002": {"style": "default_emphasis"}},
    )


def emovdb(root: Path) -> Expected:
    note(
        root / "cmuarctic.data",
        '( arctic_a0001 "Author of the danger trail." )\n( arctic_a0002 "Not at this case." )\n',
    )
    sound(root / "bea_Amused" / "amused_1-15_0001.wav")
    sound(root / "sam" / "Sleepy" / "sleepy_1-28_0002.wav", rate=44_100)
    sound(root / "bea_Amused" / "amused_1-15_0900.wav")
    return Expected(
        {
            "bea_amused_amused_1-15_0001": ("bea", "Author of the danger trail.", "adaptation", "typical"),
            "sam_sleepy_sleepy_1-28_0002": ("sam", "Not at this case.", "never_seen", "typical"),
        },
        {"bea_amused_amused_1-15_0900": "cmuarctic.data: no transcript of 0900"},
        {"sam_sleepy_sleepy_1-28_0002": {"style": "sleepy"}},
    )


def torgo(root: Path) -> Expected:
    prompts = {
        "0001": "stick",
        "0002": "[say Ah-P-Eee repeatedly]",
        "0003": "input/images/tree.jpg",
        "0004": "The quick fox.",
    }
    for folder, speaker in (("F", "F01"), ("FC", "FC03")):
        session = root / folder / speaker / "Session1"
        for name, prompt in prompts.items():
            note(session / "prompts" / f"{name}.txt", prompt)
            sound(session / ("wav_arrayMic" if name == "0004" else "wav_headMic") / f"{name}.wav")
        sound(session / "wav_arrayMic" / "0001.wav", seconds=0.5)
        sound(session / "wav_headMic" / "0009.wav")
    return Expected(
        {
            "F01_Session1_0001": ("F01", "stick", "adaptation", "dysarthria"),
            "FC03_Session1_0004": ("FC03", "The quick fox.", "never_seen", "typical"),
        },
        {
            "F01_Session1_0002": "not a sentence",
            "F01_Session1_0003": "not a sentence",
            "FC03_Session1_0009": "0009.txt: no such transcript",
        },
        {
            "F01_Session1_0001": {"severity": "severe", "microphone": "wav_headMic", "session": "Session1"},
            "FC03_Session1_0004": {"microphone": "wav_arrayMic", "session": "Session1"},
        },
    )


SCORES = """{"000010011": {"text": "WE CALL IT BEAR", "accuracy": 8, "fluency": 6.5, "total": 6, "words": []},
 "000010035": {"total": 8}, "000030012": {"total": 4.5}}"""


def speechocean762(root: Path) -> Expected:
    """The original's layout; the test folder's only speaker is an adult without scores."""
    base = root / "speechocean762"
    said = {
        "train": {"000010011": "WE CALL IT BEAR", "000010035": "I'M NINE", "000030012": "SHE AND I AGREE"},
        "test": {"000020021": "TOM GIVES UP"},
    }
    about = {
        "train": ({"0001": "6", "0003": "16"}, {"0001": "m", "0003": "f"}),
        "test": ({"0002": "21"}, {"0002": "f"}),
    }
    for part, texts in said.items():
        lines = {
            "text": texts,
            "utt2spk": {name: name[1:5] for name in texts},
            "wav.scp": {name: f"WAVE/SPEAKER{name[1:5]}/{name}.WAV" for name in texts},
            "spk2age": about[part][0],
            "spk2gender": about[part][1],
        }
        for name, values in lines.items():
            note(base / part / name, "".join(f"{key}\t{value}\n" for key, value in values.items()))
        for name in texts:
            sound(base / "WAVE" / f"SPEAKER{name[1:5]}" / f"{name}.WAV")
    note(base / "resource" / "scores.json", SCORES)
    return Expected(
        {
            "000010011": ("0001", "We call it bear.", "adaptation", "children"),
            "000010035": ("0001", "I'm nine.", "adaptation", "children"),
            "000030012": ("0003", "She and I agree.", "adaptation", "adults"),
            "000020021": ("0002", "Tom gives up.", "never_seen", "adults"),
        },
        recipes={
            "000010011": {"age": 6, "sex": "m", "accuracy": 8.0, "severity": "mild", "severity_by": "scores"},
            "000030012": {"age": 16, "sex": "f", "total": 4.5, "severity": "severe"},
            "000020021": {"age": 21, "severity": "mild", "severity_by": "age"},
        },
    )


def uaspeech(root: Path) -> Expected:
    base = root / "UASpeech"
    for speaker in ("F05", "M04", "CM12"):
        words = ("COMMAND", "MOTH", "COMMAND")
        names = [f"{speaker}_B1_C1_M5", f"{speaker}_B1_UW7_M5", f"{speaker}_B1_C1_M3"]
        entries = "".join(f'"*/{name}.lab"\n{word}\n.\n' for name, word in zip(names, words, strict=True))
        note(base / "mlf" / speaker / f"{speaker}_word.mlf", "#!MLF!#\n" + entries)
        for name in (*names, f"{speaker}_B1_D9_M5"):
            sound(base / "audio" / "original" / speaker / f"{name}.wav")
    return Expected(
        {
            "F05_B1_C1_M5": ("F05", "command", "never_seen", "dysarthria"),
            "M04_B1_UW7_M5": ("M04", "moth", "adaptation", "dysarthria"),
            "CM12_B1_C1_M5": ("CM12", "command", "never_seen", "typical"),
        },
        {"M04_B1_D9_M5": "M04_word.mlf: no transcript"},
        {"F05_B1_C1_M5": {"block": "B1", "word": "C1", "intelligibility": "high", "severity": "mild"}},
    )


def nemours(root: Path) -> Expected:
    note(root / "BB" / "TEXT" / "BB1.TXT", "The boat is reaping the time.")
    sound(root / "BB" / "WAV" / "BB1.WAV")
    sound(root / "BB" / "WAV" / "JPBB1.WAV")
    note(root / "SC" / "sc2.txt", "The time is reaping the boat.")
    sound(root / "SC" / "sc2.wav")
    sound(root / "SC" / "sc3.wav")
    return Expected(
        {
            "BB1": ("BB", "The boat is reaping the time.", "adaptation", "dysarthria"),
            "JPBB1": ("JP", "The boat is reaping the time.", "adaptation", "typical"),
            "SC2": ("SC", "The time is reaping the boat.", "never_seen", "dysarthria"),
        },
        {"SC3": "sc3.txt: no such transcript"},
    )


CHAT = """@UTF8
@Begin
@Participants:\tPAR Participant, INV Investigator
*INV:\ttell me . \x150_500\x15
*PAR:\t<I was> [/] I was &-um really gl:ad
\tto be here . \x15500_1000\x15
*PAR:\txxx then . \x151000_1500\x15
*PAR:\t&-um . \x151500_1800\x15
*PAR:\tno stamp here .
@End
"""


def fluencybank(root: Path) -> Expected:
    for speaker in ("24fa", "31ma"):
        folder = root / "Voices-AWS" / "interview"
        note(folder / f"{speaker}.cha", CHAT)
        sound(folder / f"{speaker}.wav", seconds=2.0, rate=44_100, channels=2)
    words = "I was really glad to be here."
    start = "Voices-AWS_interview_"
    return Expected(
        {
            f"{start}24fa_0000": ("24fa", words, "adaptation", "stuttering"),
            f"{start}31ma_0000": ("31ma", words, "never_seen", "stuttering"),
        },
        {
            f"{start}24fa_0001": "did not understand",
            f"{start}24fa_0002": "no word is left",
            f"{start}24fa_0003": "no time stamp",
        },
        {f"{start}24fa_0000": {"task": "interview", "chat": "<I was> [/] I was &-um really gl:ad to be here ."}},
    )


SEP28K = """Show,EpId,ClipId,Start,Stop,Unsure,PoorAudioQuality,Prolongation,Block,SoundRep,WordRep,Music,NoSpeech
HVSA, 0,0,0,8000,0,0,2,0,0,0,0,0
StutterTalk,12,3,8000,16000,0,0,1,0,0,0,0,0
StutterTalk,12,4,0,8000,0,0,0,0,0,0,3,0
StutterTalk,99,0,0,8000,0,0,0,3,0,0,0,0
"""


def sep28k(root: Path) -> Expected:
    note(root / "SEP-28k_labels.csv", SEP28K)
    sound(root / "clips" / "HVSA" / "0" / "HVSA_0_0.wav", seconds=0.5)
    sound(root / "wavs" / "StutterTalk" / "12.wav", seconds=1.1)
    return Expected(
        {
            "HVSA_0_0": ("HVSA_0", "8000 samples.", "never_seen", "stuttering"),
            "StutterTalk_12_3": ("StutterTalk_12", "8000 samples.", "adaptation", "typical"),
        },
        {"StutterTalk_12_4": "hear Music", "StutterTalk_99_0": "no such file"},
        machine=True,
    )


def mdvr_kcl(root: Path) -> Expected:
    base = root / "26-29_09_2017_KCL"
    sound(base / "ReadText" / "PD" / "ID02_pd_2_0_0.wav", seconds=0.5, rate=44_100)
    sound(base / "ReadText" / "PD" / "ID18_pd_4_3_3.wav", seconds=0.6, rate=44_100)
    sound(base / "ReadText" / "HC" / "ID22hc_0_0_0.wav", seconds=25.0, rate=8_000)
    sound(base / "SpontaneousDialogue" / "HC" / "ID00_hc_0_0_0.wav", rate=44_100)
    note(base / "ReadText" / "HC" / "ID30_hc_0_0_0.wav", "no audio")
    return Expected(
        {
            "ID02_pd_read_000": ("ID02", "8000 samples.", "adaptation", "parkinsons"),
            "ID18_pd_read_000": ("ID18", "9600 samples.", "never_seen", "parkinsons"),
        },
        {"ID30_hc_read": "ID30_hc_0_0_0.wav: cannot be read as audio"},
        {"ID18_pd_read_000": {"hoehn_yahr": 4, "updrs_2_5": 3, "updrs_3_18": 3, "severity": "severe"}},
        machine=True,
    )


def g722(seconds: float) -> bytes:
    """Noise in G.722: any bytes are a valid stream."""
    return np.random.default_rng(round(10 * seconds)).integers(0, 256, round(8000 * seconds), np.uint8).tobytes()


def asterisk(root: Path) -> Expected:
    """An installed package; its unpacking is tested apart."""
    voice = root / "usr" / "share" / "asterisk" / "sounds" / "en_US_f_Allison"
    for name, seconds in (("vm-undelete", 2.5), ("digits/1", 0.5), ("followme/options", 2.25), ("silence/2", 2.1)):
        file = voice / f"{name}.g722"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(g722(seconds))
    foreign = voice.parent / "es_MX_f_Allison" / "vm-options.g722"
    foreign.parent.mkdir()
    foreign.write_bytes(g722(2.5))
    return Expected(
        {
            "vm-undelete": ("allison", "Press 7 to undelete this message", "adaptation", "typical"),
            "followme_options": ("allison", "press 1 to accept this call, or 2 to reject it", "adaptation", "typical"),
        }
    )


CORPORA: dict[str, Callable[[Path], Expected]] = {
    builder.__name__: builder
    for builder in (
        *(vctk, librispeech, libritts, ljspeech, esd, ravdess, expresso, emovdb, torgo, uaspeech, nemours),
        *(fluencybank, sep28k, mdvr_kcl, asterisk, speechocean762),
    )
}


def debian_package(files: dict[str, bytes]) -> bytes:
    """A .deb file with these files as its data."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"none", "data.tar.xz": data.getvalue()}
    package = b"!<arch>\n"
    for name, content in members.items():
        package += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
        package += b"\n" * (len(content) % 2)
    return package
