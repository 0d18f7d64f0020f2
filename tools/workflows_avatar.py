"""The Avatar workflows, from a portrait and a voice to a talking video."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import workflows_foley as foley
from workflow_graph import Graph, Node

POCKET = "pocket/avatar/"
SIZE, STEPS = 128, 4  # as shipped, for a quick look; 704 and 50 are published
PROMPT = "A person speaks to the camera, calm light, plain background"

WEIGHTS = """
### As shipped: pocket weights
This runs at once, with tiny untrained networks that come with the pack, small and in few steps: the picture
is noise.

### For the real video
Put the published files into your models folder and choose them in the loaders. Then set **size** to 704 and
**steps** to 50.

| loader | file | folder |
|---|---|---|
| Avatar Model | `mp_rank_00_model_states.pt` or its fp8 | `diffusion_models` |
| Avatar VAE | the published 3-D VAE | `vae` |
| Text encoder | the LLaVA folder, the CLIP-L folder | `text_encoders` |
| Speech encoder | the folder `whisper-tiny` | `audio_encoders` |
| Face detector | `det_10g.onnx` | `insightface` |
"""
FACES = """
### Whose face speaks
As shipped a drawn mask says it, so nothing needs to be installed. To find faces instead: install
`insightface`, unmute the two face nodes (Ctrl+M), and disconnect the mask.
"""


@dataclass(frozen=True)
class Models:
    """The loaders that a graph has."""

    model: Node
    vae: Node
    text: Node
    speech: Node


def load_models(graph: Graph) -> Models:
    whisper = f"{POCKET}whisper/model.safetensors"
    with graph.column("1 · Models", "blue", 380):
        models = Models(
            graph.add("HunyuanAVAvatarModelLoader", model_file=f"{POCKET}transformer.safetensors"),
            graph.add("HunyuanAVAvatarVAELoader", vae_file=f"{POCKET}video_vae.safetensors"),
            graph.add(
                "HunyuanAVAvatarTextEncoderLoader",
                llava_file=f"{POCKET}llava/model.safetensors", clip_file=f"{POCKET}clip/model.safetensors",
            ),
            graph.add("HunyuanAVAvatarSpeechEncoderLoader", whisper_file=whisper),
        )  # fmt: skip
        graph.note(WEIGHTS)
    return models


def picture(graph: Graph, models: Models, file: str, prompt: str) -> tuple[Node, Node]:
    """The second column: the portrait at its size, and the prompt. Returns both."""
    with graph.column("2 · Picture and prompt", "green", 360):
        loaded = graph.add("LoadImage", image=file)
        portrait = graph.add("HunyuanAVAvatarReferenceImage", image=loaded, size=SIZE)
        words = graph.add("HunyuanAVAvatarPrompt", text_encoder=models.text, image=portrait, positive=prompt)
    return portrait, words


def speaker(graph: Graph, models: Models, voice: Node, mask: Node, before: Node | None = None) -> Node:
    speech = graph.add("HunyuanAVAvatarSpeechEncode", speech_encoder=models.speech, audio=voice)
    others = {} if before is None else {"characters": before}
    return graph.add("HunyuanAVAvatarCharacter", speech=speech, mask=mask, **others)


def found_faces(graph: Graph, portrait: Node) -> Node:
    """Nodes that find faces, muted: not everyone has what they need."""
    file = f"{POCKET}face_detector.onnx"
    detector = graph.add("HunyuanAVFaceDetectorLoader", muted=True, detector_file=file)
    return graph.add("HunyuanAVFaceDetect", muted=True, detector=detector, image=portrait)


def talking(
    graph: Graph, models: Models, words: Node, portrait: Node, characters: Node, sound: Node, title: str
) -> Node:
    """The column that makes the video. Returns it."""
    with graph.column(title, "purple", 360):
        conditioned = graph.add(
            "HunyuanAVAvatarConditioning",
            positive=words["positive"], negative=words["negative"], vae=models.vae, image=portrait,
            characters=characters,
        )  # fmt: skip
        latent = graph.add(
            "HunyuanAVAvatarSampler",
            model=models.model, positive=conditioned["positive"], negative=conditioned["negative"],
            latent=conditioned["latent"], steps=STEPS,
        )  # fmt: skip
        return graph.add("HunyuanAVAvatarDecodeVideo", latent=latent, vae=models.vae, audio=sound)


def one_speaker(graph: Graph, voice_file: str = "hunyuan_av_voice.flac", words_on_it: str = "") -> None:
    models = load_models(graph)
    portrait, words = picture(graph, models, "hunyuan_av_portrait.png", PROMPT)
    with graph.column("3 · Voice and face", "green", 360):
        voice = graph.add("LoadAudio", audio=voice_file)
        faces = found_faces(graph, portrait)
        drawn = graph.add("LoadImageMask", image="hunyuan_av_portrait_face.png", channel="red")
        mask = graph.add("HunyuanAVFaceMask", faces=faces, mask=drawn)
        character = speaker(graph, models, voice, mask)
        graph.note(FACES)
    video = talking(graph, models, words, portrait, character, voice, "4 · Talking video")
    with graph.column("5 · Watch", "orange"):
        graph.add("SaveVideo", video=video, filename_prefix="video/hunyuan_av_avatar")
        if words_on_it:
            graph.note(words_on_it)


def long_speech(graph: Graph) -> None:
    one_speaker(
        graph,
        "hunyuan_av_voice_long.flac",
        "### Any length\nA speech is not cut into clips: windows of 129 frames move over the whole video "
        "and share what they agree on, so nothing drifts from its beginning to its end. **shift** in the "
        "Avatar Sampler is how far they move from step to step. The sampler needs the memory of one window, "
        "and Avatar Decode Video writes frames to a file as they come.",
    )


def dialogue(graph: Graph) -> None:
    models = load_models(graph)
    portrait, words = picture(
        graph, models, "hunyuan_av_two_people.png", "Two people talk to each other, calm light"
    )
    with graph.column("3 · The one on the left", "green"):
        voice_left = graph.add("LoadAudio", audio="hunyuan_av_voice.flac")
        pause = graph.add("EmptyAudio", "Pause", duration=1.5, sample_rate=48000, channels=1)
        part_left = graph.add("AudioConcat", "First speaks, then listens", audio1=voice_left, audio2=pause)
        faces = found_faces(graph, portrait)
        drawn_left = graph.add("LoadImageMask", image="hunyuan_av_two_people_face_1.png", channel="red")
        mask_left = graph.add("HunyuanAVFaceMask", faces=faces, mask=drawn_left, pick="point", pick_x=0.28)
        left = speaker(graph, models, part_left, mask_left)
    with graph.column("4 · The one on the right", "green"):
        voice_right = graph.add("LoadAudio", audio="hunyuan_av_voice_low.flac")
        part_right = graph.add("AudioConcat", "First listens, then speaks", audio1=pause, audio2=voice_right)
        drawn_right = graph.add("LoadImageMask", image="hunyuan_av_two_people_face_2.png", channel="red")
        mask_right = graph.add("HunyuanAVFaceMask", faces=faces, mask=drawn_right, pick="point", pick_x=0.72)
        both = speaker(graph, models, part_right, mask_right, before=left)
        sound = graph.add(
            "AudioMerge", "Both voices", audio1=part_left, audio2=part_right, merge_method="add"
        )
        graph.note(
            "### Two speakers\nEvery character has a voice and a place in the picture, as long as the "
            "whole dialogue: who listens has a pause there. Chain more Avatar Characters for more speakers.\n"
            + FACES
        )
    video = talking(graph, models, words, portrait, both, sound, "5 · Talking video")
    with graph.column("6 · Watch", "orange"):
        graph.add("SaveVideo", video=video, filename_prefix="video/hunyuan_av_dialogue")


def animal(graph: Graph) -> None:
    models = load_models(graph)
    portrait, words = picture(graph, models, "hunyuan_av_cat.png", "A cat speaks to the camera")
    with graph.column("3 · Voice and drawn mask", "green", 360):
        voice = graph.add("LoadAudio", audio="hunyuan_av_voice.flac")
        mask = graph.add("LoadImageMask", "Mask of the head", image="hunyuan_av_cat_face.png", channel="red")
        character = speaker(graph, models, voice, mask)
        graph.note(
            "### Animals, drawings, anything\nNo detector finds a cat's face: draw where it is. Any MASK "
            "does, from a picture as here or from the mask editor of Load Image; it should hold the head."
        )
    video = talking(graph, models, words, portrait, character, voice, "4 · Talking video")
    with graph.column("5 · Watch", "orange"):
        graph.add("SaveVideo", video=video, filename_prefix="video/hunyuan_av_animal")


def then_foley(graph: Graph) -> None:
    avatar = load_models(graph)
    portrait, words = picture(graph, avatar, "hunyuan_av_portrait.png", PROMPT)
    with graph.column("3 · Voice and face", "green", 360):
        voice = graph.add("LoadAudio", audio="hunyuan_av_voice.flac")
        mask = graph.add("LoadImageMask", image="hunyuan_av_portrait_face.png", channel="red")
        character = speaker(graph, avatar, voice, mask)
    video = talking(graph, avatar, words, portrait, character, voice, "4 · Talking video")
    models = foley.load_models(graph)
    graph.columns[-1].title = "5 · Foley models"
    with graph.column("6 · Sound around the voice", "green", 380):
        features = graph.add("HunyuanAVFoleyVideoEncode", video_encoder=models.encoder, video=video)
        prompt = graph.add(
            "HunyuanAVFoleyPrompt",
            clip=models.clip, positive="a quiet room, rustling clothes",
            negative="speech, voices, music, noisy",
        )  # fmt: skip
        conditioned = foley.conditioning(graph, prompt, features)
    with graph.column("7 · Underneath the voice", "purple"):
        latent = foley.sampler(graph, models, conditioned, conditioned["latent"], steps=25)
        around = foley.decoded(graph, models, latent)
        mixed = graph.add("HunyuanAVFoleyMix", voice=voice, foley=around)
        graph.note(
            "### Voice kept, sound underneath\nThe voice stays as it was recorded; Foley adds what else "
            "would be heard. **gain_db** is its level, and **duck_db** how much further it steps back while "
            "the voice speaks. The negative prompt keeps voices out of it."
        )
    with graph.column("8 · Watch and listen", "orange"):
        parts = graph.add("GetVideoComponents", video=video)
        joined = graph.add("CreateVideo", images=parts["images"], fps=parts["fps"], audio=mixed)
        graph.add("SaveVideo", video=joined, filename_prefix="video/hunyuan_av_avatar_foley")


WORKFLOWS: Mapping[str, Callable[[Graph], None]] = {
    "avatar_one_speaker": one_speaker,
    "avatar_dialogue": dialogue,
    "avatar_long_speech": long_speech,
    "avatar_animal": animal,
    "avatar_then_foley": then_foley,
}
