#!/usr/bin/env python3
"""Reads a directory of ringmill segments. Written from docs/segment-format.md alone, standard library only.

read_segments.py DIR                prints all stored events, shard by shard in order
read_segments.py --check DIR        prints counts; exits 1 on damage
read_segments.py --quarantine DIR   prints the quarantined entries as stored
"""
import hashlib, json, mmap, os, re, sys

HEAD, QUARANTINE_HEAD, BLOCK = 384, 256, 4096
PLAIN = re.compile(r'(?:[ !#$&-\[\]-~]|%(?:[01][0-9a-f]|2[25]|5c|7f|[89a-f][0-9a-f]))*')
KEYS = "ringmill shard stream seq events bytes commit left time_ms file crc32c prev head".split()
BYTE = [0] * 256
for i in range(256):
    c = i
    for _ in range(8):
        c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    BYTE[i] = c
PAIR = [BYTE[(c := BYTE[i & 255] ^ i >> 8) & 255] ^ c >> 8 for i in range(65536)]


def crc32c(data, crc=0xFFFFFFFF):
    even = len(data) & ~1
    for pair in memoryview(data)[:even].cast("H"):  # little-endian, as every machine ringmill runs on
        crc = PAIR[crc & 0xFFFF ^ pair] ^ crc >> 16
    for byte in data[even:]:
        crc = BYTE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Bad(Exception):
    pass


def blank(data, at, end):
    return all(not data[i:min(i + BLOCK, end)].strip(b"\n\0") for i in range(at, end, BLOCK))


def header(data, at):
    line = data[at:at + HEAD]
    if len(line) < HEAD or not line.startswith(b'{"ringmill":1,') or line[-2:] != b" \n":
        raise Bad("no header")
    try:
        h = json.loads(line)
        exact = json.dumps(h, separators=(",", ":")).encode().ljust(HEAD - 1) + b"\n"
    except ValueError:
        raise Bad("malformed header")
    keyed = KEYS[:3] + ["key"] + KEYS[3:]
    if list(h) != (keyed if "key" in h else KEYS) or exact != line or not PLAIN.fullmatch(h.get("key", "")):
        raise Bad("malformed header")
    if crc32c(line[:line.index(b',"head"')]) != int(h["head"], 16):
        raise Bad("head checksum")
    h["hash"] = hashlib.sha256(line).hexdigest()
    return h


def commit(data, at):
    """The runs of the commit at `at` as (header, begin, end), and where the next commit begins."""
    runs = []
    while not runs or runs[-1][0]["left"]:
        h = header(data, at)
        if runs:
            b = runs[-1][0]
            if (h["shard"], h["file"], h["commit"], h["left"]) != (b["shard"], b["file"], b["commit"], b["left"] - 1):
                raise Bad("runs of one commit do not belong together")
            if h["prev"] != b["hash"] or h["seq"] != b["seq"] + b["events"]:
                raise Bad("runs of one commit do not follow each other")
        begin, at = at + HEAD, at + HEAD + h["bytes"]
        body = data[begin:at]
        if len(body) < h["bytes"] or crc32c(body) != int(h["crc32c"], 16):
            raise Bad("events do not match crc32c")
        if body.count(b"\n") != h["events"] or not body.endswith(b"\n"):
            raise Bad("events are not one a line")
        runs.append((h, begin, at))
    return runs, at, -(-at // BLOCK) * BLOCK


def front(path):
    """First header of a file; None when it is empty or blank; raises Bad when something else stands there."""
    with open(path, "rb") as f:
        line = f.read(HEAD)
    return header(line, 0) if line.strip(b"\n\0") else None


def following(paths):
    for path in paths:
        try:
            if (first := front(path)) is not None:
                return first
        except Bad:
            break
    return None


class Reader:
    def __init__(self, out):
        self.out, self.damaged = out, 0
        self.counts = dict(segments=0, commits=0, events=0, bytes=0)

    def damage(self, name, begin, end, why):
        self.damaged += 1
        print(f"damaged: {name} bytes {begin}..{end}: {why}", file=sys.stderr)

    def shard(self, number, paths):
        chain = None  # (commit, seq, prev) as the next header must have them
        for i, path in enumerate(paths):
            self.counts["segments"] += 1
            with open(path, "rb") as f:
                size = os.fstat(f.fileno()).st_size
                data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
            chain = self.segment(number, path, data, chain, following(paths[i + 1:]))

    def segment(self, number, name, data, chain, after):
        at, file = 0, None
        while True:
            try:
                runs, data_end, end = commit(data, at)
                h = runs[0][0]
                if h["shard"] != number or file not in (None, h["file"]):
                    raise Bad("another file's header")
                if chain and (h["seq"], h["prev"]) != chain[1:] or chain and h["commit"] < chain[0]:
                    raise Bad(f"event {chain[1]} is due, {h['seq']} stands here, or prev is another")
            except Bad as bad:
                if blank(data, at, len(data)):
                    if after and chain and after["seq"] > chain[1]:
                        self.damage(name, at, at, f"events {chain[1]}..{after['seq'] - 1} are missing")
                        chain = (after["commit"], after["seq"], after["prev"])
                    return chain
                at, chain, file, ended = self.resume(name, data, at, chain, file, after, bad)
                if ended:
                    return chain
                continue
            if after and h["seq"] >= after["seq"]:
                return chain  # it failed, was answered 503, and the next segment stands in its place
            at, file = end, h["file"]
            last = runs[-1][0]
            chain = (h["commit"] + 1, last["seq"] + last["events"], last["hash"])
            if len(data) < end or not blank(data, data_end, end):
                self.damage(name, data_end, end, "the fill is not newlines")
            self.counts["commits"] += 1
            for h, begin, stop in runs:
                self.counts["events"] += h["events"]
                self.counts["bytes"] += h["bytes"]
                if self.out:
                    self.out.write(data[begin:stop])

    def resume(self, name, data, at, chain, file, after, bad):
        for q in range(at, len(data), BLOCK):
            try:
                h = header(data, q)
                if q == at:
                    commit(data, q)
            except Bad:
                continue
            due = chain[0] if chain else 0
            later = h["commit"] > due or q == at and h["commit"] == due
            if later and file in (None, h["file"]) and (not chain or h["seq"] >= chain[1]):
                if not after or h["seq"] < after["seq"]:
                    self.damage(name, at, q, bad)
                    return q, (h["commit"], h["seq"], h["prev"]), h["file"], False
        if after and chain and after["seq"] <= chain[1]:
            return at, chain, file, True  # never finished; the next segment goes on from the sound part
        self.damage(name, at, len(data), bad)
        return at, (after["commit"], after["seq"], after["prev"]) if after else chain, file, True


def quarantine(path, out):
    with open(path, "rb") as f:
        data, at, file, count = f.read(), 0, None, 0
    while data[at:].strip(b"\n"):
        if at % BLOCK and data[at:at + 1] == b"\n":
            at = -(-at // BLOCK) * BLOCK
        line = data[at:at + QUARANTINE_HEAD]
        try:
            h = json.loads(line)
            end = at + QUARANTINE_HEAD + h["length"]
            covered = line[:line.index(b',"crc32c"')] + data[at + QUARANTINE_HEAD:end]
            if crc32c(covered) != int(h["crc32c"], 16) or data[end:end + 1] != b"\n" or file not in (None, h["file"]):
                raise ValueError("checksum")
        except (ValueError, KeyError, TypeError) as bad:
            id = f'"file":"{file}"'.encode()
            more = range((at // BLOCK + 1) * BLOCK, len(data), BLOCK)
            later = any(data[q:q + 25].startswith(b'{"ringmill_quarantine":1,') and id in data[q:q + QUARANTINE_HEAD] for q in more)
            print(f"{'damaged' if later else 'unfinished'}: {path} from byte {at} on: {bad}", file=sys.stderr)
            return count, int(later)
        if out:
            out.write(data[at:end + 1])
        at, file, count = end + 1, h["file"], count + 1
    return count, 0


def main(args):
    flags = {a for a in args if a.startswith("--")}
    dirs = [a for a in args if not a.startswith("--")]
    if len(dirs) != 1 or flags - {"--check", "--quarantine"}:
        sys.exit(__doc__)
    out = None if "--check" in flags else sys.stdout.buffer
    reader, quarantined = Reader(None if "--quarantine" in flags else out), 0
    for name in sorted(os.listdir(dirs[0])):
        if not re.fullmatch(r"shard-\d{3,}", name):
            continue
        files = sorted(os.listdir(os.path.join(dirs[0], name)))
        paths = [os.path.join(dirs[0], name, file) for file in files]
        if "--quarantine" not in flags:
            reader.shard(int(name[6:]), [p for p in paths if re.search(r"/\d{10,}\.seg$", p)])
        for path in (p for p in paths if re.search(r"/\d{10,}\.quarantine$", p)):
            if flags:
                count, bad = quarantine(path, out)
                quarantined, reader.damaged = quarantined + count, reader.damaged + bad
    if "--check" in flags:
        print(*(f"{key}={value}" for key, value in reader.counts.items()), f"quarantined={quarantined}")
    sys.stdout.flush()
    return 1 if reader.damaged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
