"""Text the golden tokenizer is trained on, and the strings it is asked about."""

TRAINING = """
a photo of an astronaut riding a horse on mars, cinematic lighting, highly detailed, sharp focus, 4k
a photograph of a cat wearing sunglasses at the beach, 50mm f/1.8, golden hour, bokeh
portrait of a young woman with red hair, oil painting, masterpiece, best quality, intricate, elegant
an oil painting of a sailing ship in a storm, waves, dramatic sky, by the old masters
a watercolor of a small village in the mountains, snow, pine trees, soft morning light
a futuristic city at night, neon signs, rain, reflections, flying cars, cyberpunk, concept art
a red apple and a green pear on a wooden table, still life, studio lighting, white background
a black and white photo of an old man playing the piano, film grain, 35mm
a blue circle, a red square, a yellow triangle, flat colors, vector art, minimal, simple
anime girl with blue eyes, school uniform, cherry blossoms, wind, looking at viewer, smile
low quality, worst quality, blurry, bad anatomy, extra fingers, watermark, text, signature, jpeg artifacts
a dragon flying over the castle, fire, smoke, epic scale, matte painting, trending
the quick brown fox jumps over the lazy dog, and the dog doesn't mind; it's sleeping
don't stop, we're going, they've gone, I'm here, you'll see, he'd know, she's right, let's go
close up of a flower with dew drops, macro photography, shallow depth of field, green background
an isometric illustration of a cozy room with a desk, a lamp, books and plants, pastel colors
a wide shot of the desert with a lone traveler, sunset, long shadows, warm tones, realistic
a steam train crossing a stone bridge over the river in autumn, orange leaves, fog
a bowl of noodles with an egg, steam rising, food photography, top view, delicious
a robot holding an umbrella in the rain, sad, reflections on the wet street, night
a knight in shining armor standing in front of the gate, holding a sword and a shield
abstract shapes, colorful gradient, smooth, glossy, three dimensional render, ray tracing
a lighthouse on the cliff, waves crashing, seagulls, cloudy sky, wind, dramatic
a cup of coffee next to an open book on a windowsill, rainy day, cozy mood
café naïve façade résumé jalapeño über straße œuvre piñata Ångström Émile garçon crème brûlée
Zürich, Málaga, São Paulo, Kraków, Łódź, Čapek, Dvořák, Göteborg, Reykjavík, İstanbul
русский текст, красная площадь, зима, снег; ελληνικά γράμματα, θάλασσα, ουρανός
一只猫坐在窗台上，水彩画，柔和的光线。山水画，仙侠，剑客，云海，古风
日本語の文章、桜の木の下で、猫が眠っている。東京タワー、夜景、雨
한국어 문장, 고양이, 벚꽃, 서울의 밤, 비가 온다
مدينة قديمة في الصحراء، غروب الشمس; עיר עתיקה במדבר; ภาพวาดแมวบนโต๊ะ; हिन्दी में एक बिल्ली
🙂 😀 ❤️ 🔥 ✨ 🎨 🚀 👩‍🚀 👍🏽 🇯🇵 ⭐ 🐱 🐉
1 2 3 10 20 50 100 123 1024 2048 1.5 0.75 16:9 1980s 24mm iso-400 f/2.8 8k 3d v1.0 #1 50% $5 €10
(masterpiece:1.2), ((best quality)), [simple background], {detailed}, <lora:style:0.8>, a/b, c_d, e-f, g+h, "quoted", 'single'
hello!!! what??? wait... yes; no: maybe - perhaps — never… “curly” ‘quotes’ • bullet · dot ™ © ® ° ± × ÷
"""

# One string a trap.
QUESTIONS = [
    "a photo of an astronaut riding a horse on mars",
    "A cat, wearing (sunglasses:1.2) at 50mm f/1.8",
    "don't   STOP!!! ((masterpiece))",
    "12345 a1b2",
    "it's  Émile's café—日本語 🙂",
    "hello<|endoftext|>world",
    "", " ", "   ", "\t", "\n", "\r\n", " \t\n ", "\u00a0", "\u3000", "\u200b", "\u2028", "\u0085", "\ufeff",
    "\u200d", "\x00", "a\x00b", "\x1f\x7f", "a\x0bb\x0cc", "\ufffd", "\U0010ffff", "\ue000",
    "a\u00a0photo\u3000of\u2009a\u200bcat", "a\tphoto\nof\r\na  cat", "  leading and trailing  ",
    "LOUD PROMPT WITH CAPITALS", "MiXeD CaSe", "İstanbul İ", "ß ẞ straße STRASSE", "Σίσυφος ΟΔΟΣ", "ǅ ǆ Ǆ", "ﬁ ﬂ ﬀ",
    "\u212a \u212b \u2126", "don't", "DON'T", "it's they've we're I'm you'll he'd let's", "IT'S THEY'VE WE'RE", "'s", "' s", "''s",
    "don’t", "rock'n'roll", "o'clock 'tis", "'string", "x'sy", "'ſ", "e\u0301", "\u00e9", "caf\u0065\u0301", "n\u0303o",
    "a\u0301\u0323", "a\u0323\u0301", "Z\u0351\u036b\u0343algo", "\u0301", "각", "\u1100\u1161\u11a8", "हिन्दी", "ภาพวาด",
    "مدينة قديمة", "一只猫坐在窗台上，水彩画", "東京タワーの夜景", "벚꽃과 고양이", "🙂", "👩‍🚀", "👍🏽", "🇯🇵", "❤️ ❤", "a🔥b",
    "0 00 000 1234567890", "v1.0", "16:9", "½ ² ³ Ⅷ ①", "٣٤٥ १२३", "8k4k", "f/1.8", "100%", "€10 $5 £3",
    "!", "!!", "!!!", "wow!", "wow !", "! wow", "a!b", "!a", "no! yes! (maybe!)", "?!", "!?", "...", "…", "—", "()[]{}<>",
    "a_b-c+d=e", "(masterpiece:1.2), ((best quality)), [simple]", "<lora:style:0.8>", "\\(escaped\\)", "a,b;c:d",
    "<|startoftext|>", "<|endoftext|>", "<|startoftext|>a cat", "a cat<|endoftext|>", "a <|endoftext|> cat <|endoftext|>",
    "<|ENDOFTEXT|>", "<|StartOfText|> x", "<|endoftext", "< |endoftext|>", "<|endoftext|><|endoftext|>", "<|pad|>", "</w>", "cat</w>",
    "a photo of a cat " * 30,
    "!" * 200,
    "1" * 80,
    "日本語" * 40,
    "supercalifragilisticexpialidocious" * 8,
    "word " * 75,
    "word " * 76,
    ("a " * 74) + "cat dog",
    ("a " * 73) + "<|endoftext|> cat dog bird",
]
