//! Broken frames and bytes of any kind.

use super::*;

#[test]
fn a_broken_frame_ends_its_connection_only() {
    let mut victim = Victim::start(&Options::small());
    let broken: &[(&str, Vec<u8>)] = &[
        (
            "another protocol",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        ),
        ("all ones", vec![0xFF; 64]),
        ("no room for the mark", raw_frame(3, 0, b"")),
        ("no length at all", vec![0; 64]),
        (
            "one byte too long",
            raw_frame(MAX_FRAME_BYTES as u32 - 3, 0, b""),
        ),
        ("a negative length", raw_frame(0x8000_0000, 0, b"")),
        ("a header longer than its frame", raw_frame(6, 3, b"{}")),
        ("a header of 16 MiB", raw_frame(6, 0x00FF_FFFF, b"{}")),
        (
            "a header above its limit",
            raw_frame(4 << 20, 3 << 20, b"{}"),
        ),
        ("serialize type 2", raw_frame(6, 2 << 24 | 2, b"{}")),
        ("serialize type 255", raw_frame(6, 0xFF00_0002, b"{}")),
        ("an empty header", json_frame("")),
        ("no JSON", json_frame("hello")),
        ("JSON of another kind", json_frame("[1,2,3]")),
        (
            "half a JSON object",
            json_frame("{\"code\":310,\"opaque\":1"),
        ),
        (
            "a code in words",
            json_frame("{\"code\":\"SEND_MESSAGE\",\"opaque\":1}"),
        ),
        (
            "a code beyond 32 bits",
            json_frame("{\"code\":99999999999,\"opaque\":1}"),
        ),
        (
            "deeper than sense",
            json_frame(&format!("{{\"x\":{}", "[".repeat(100_000))),
        ),
        ("more fields than sense", json_frame(&many_fields(100_000))),
        (
            "a binary header cut off",
            raw_frame(4 + 5, 1 << 24 | 5, &[0, 10, 0, 0, 0]),
        ),
        (
            "a binary header with a long remark",
            binary_frame(&[0x7F, 0xFF, 0xFF, 0xFF], &[]),
        ),
        (
            "a binary header with negative fields",
            binary_frame(&[0; 4], &[0xFF; 4]),
        ),
        (
            "a binary header with cut fields",
            binary_frame(&[0; 4], &[0, 0, 0, 3, 0, 200, b'a']),
        ),
    ];
    for addr in [victim.broker.addr(), victim.broker.namesrv] {
        for (what, bytes) in broken {
            let mut wire = Wire::connect(addr);
            // The broker may close before it has all.
            let _ = wire.0.write_all(bytes);
            let reply = wire.receive();
            assert!(reply.is_none(), "{what}: answered with {reply:?}");
            victim.must_serve();
        }
    }
    victim.must_be_well();
}

/// Requests before the broken frame were whole, so they are carried out and answered.
#[test]
fn what_came_before_a_broken_frame_is_answered() {
    let victim = Victim::start(&Options::small());
    let mut client = victim.client();
    client.post(request::GET_ALL_TOPIC_CONFIG, &[], &[]);
    client.wire.send(&[0xFF; 8]);
    assert!(
        client
            .receive()
            .is_none_or(|reply| reply.code == response::SUCCESS)
    );
    victim.must_be_well();
}

#[test]
fn half_a_frame_harms_nobody() {
    let mut victim = Victim::start(&Options::small());
    let mut sender = victim.client();
    let whole = sender.encode(
        request::SEND_MESSAGE_V2,
        0,
        &send_to("Halves", 0).ext(),
        &[7; 5000],
    );
    for cut in [1, 4, 7, 8, 9, 100, whole.len() - 1] {
        let mut wire = Wire::connect(victim.broker.addr());
        wire.send(&whole[..cut]);
        victim.must_serve();
        wire.0.shutdown(Shutdown::Write).expect("it is open");
        assert!(wire.receive().is_none(), "cut at {cut}");
    }
    // In as many pieces as there are bytes it is as good as any other.
    for byte in &whole[..200] {
        sender.wire.send(&[*byte]);
    }
    sender.wire.send(&whole[200..]);
    sender.receive().expect("an answer").ok();
    assert_eq!(sender.max_offset("Halves", 0), 1);
    victim.must_be_well();
}

/// Memory is taken for bytes that have come, not for those that are announced.
#[test]
fn announced_bytes_cost_nothing() {
    let mut victim = Victim::start(&Options::small());
    victim.must_serve();
    let before = victim.broker.peak_rss_bytes();
    let wires: Vec<_> = (0..200)
        .map(|_| {
            let mut wire = Wire::connect(victim.broker.addr());
            wire.send(&raw_frame(15 << 20, 1000, b"{"));
            wire
        })
        .collect();
    victim.must_serve();
    let grown = victim.broker.peak_rss_bytes().saturating_sub(before);
    assert!(
        grown < 16 * MIB,
        "{} connections cost {grown} bytes",
        wires.len()
    );
    drop(wires);
    victim.must_be_well();
}

#[test]
fn random_bytes_harm_nobody() {
    let mut victim = Victim::start(&Options::small());
    let started = Instant::now();
    let mut seed = 0;
    // At least so many, and for a few seconds.
    while seed < 300 || started.elapsed() < Duration::from_secs(4) {
        seed += 1;
        let random = &mut Random::new(seed);
        let addr = if seed % 4 == 0 {
            victim.broker.namesrv
        } else {
            victim.broker.addr()
        };
        let bytes = match seed % 3 {
            0 => {
                let len = random.below(4000);
                random.bytes(len)
            }
            1 => random_frame(random),
            _ => mutated(random),
        };
        let mut stream = TcpStream::connect(addr).expect("it listens");
        let _ = stream.write_all(&bytes);
        if seed % 50 == 0 {
            println!("seed {seed}");
            victim.must_serve();
        }
    }
    victim.must_be_well();
}

/// Sound in its lengths, so that its header is read.
fn random_frame(random: &mut Random) -> Vec<u8> {
    let header_len = random.below(300);
    let body_len = random.below(300);
    let codec = (random.below(2) as u32) << 24;
    let content = random.bytes(header_len + body_len);
    raw_frame(
        4 + content.len() as u32,
        codec | header_len as u32,
        &content,
    )
}

/// Sound requests with some bytes changed.
fn mutated(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    let codec = [Codec::Json, Codec::Rocketmq][random.below(2)];
    for _ in 0..1 + random.below(3) {
        let code = [310, 320, 11, 34, 14, 15, 29, 30, 36, 41, 17, 105, 33][random.below(13)];
        let head = ringmq::wire::Head {
            codec,
            code,
            language: ringmq::wire::Language::Java,
            version: 500,
            opaque: 1,
            flag: 0,
            remark: None,
        };
        let body = batch_of(&[b"one", b"two"], &properties(&[("A", "B")]));
        let (pull, send) = (
            pull_from("Fuzz", 0, 0),
            SendRequest {
                batch: code == 320,
                ..send_to("Fuzz", 0)
            },
        );
        let ext = if code == 11 {
            pull.ext().to_vec()
        } else {
            send.ext().to_vec()
        };
        ringmq::wire::frame::write(&mut bytes, &head, &ext, &body);
    }
    for _ in 0..1 + random.below(6) {
        let at = random.below(bytes.len());
        bytes[at] = match random.below(3) {
            0 => random.next() as u8,
            1 => bytes[at] ^ 1 << random.below(8),
            _ => b"\"\\{}[]:,0\x00\xFF"[random.below(11)],
        };
    }
    bytes
}

fn many_fields(count: usize) -> String {
    let fields: Vec<_> = (0..count)
        .map(|number| format!("\"f{number}\":\"v\""))
        .collect();
    format!(
        "{{\"code\":310,\"opaque\":1,\"extFields\":{{{}}}}}",
        fields.join(",")
    )
}
