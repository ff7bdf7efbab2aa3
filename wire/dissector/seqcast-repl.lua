-- Wireshark dissector of Seqcast's replication stream (wire/src/repl.rs holds the tables) and of the frames in it.
--
--   tshark -X lua_script:wire/dissector/seqcast-repl.lua -r capture.pcapng
--
-- or put this file into Wireshark's folder for personal Lua plugins. Any UDP datagram that begins with "SQCR" is taken for
-- one of the stream, whatever its port. Works with Lua 5.2 to 5.4.

local HEADER_BYTES, APPEND_BYTES, ACK_BYTES = 40, 96, 96
local IMAGE_BYTES, IMAGE_SOURCE_BYTES = 80, 18
local FRAME_HEADER_BYTES, FRAME_ALIGN_BYTES = 64, 8
local APPEND, ACK, REFUSE, IMAGE = 1, 2, 3, 4
local FLAG_END, FLAG_COMMITTED, FLAG_POSITION, FLAG_RECEIVED, FLAG_WANTED = 1, 2, 4, 8, 16
local FLAG_DEAF, FLAG_NEEDS_IMAGE = 32, 64

local repl = Proto("seqcast_repl", "Seqcast replication")

local kinds = { [APPEND] = "Append", [ACK] = "Ack", [REFUSE] = "Refuse", [IMAGE] = "Image" }
local frame_kinds = { [1] = "Message", [2] = "End" }

local f = {
    magic = ProtoField.string("seqcast_repl.magic", "Magic"),
    crc = ProtoField.uint32("seqcast_repl.crc", "CRC-32C", base.HEX),
    version = ProtoField.uint8("seqcast_repl.version", "Version"),
    kind = ProtoField.uint8("seqcast_repl.kind", "Kind", base.DEC, kinds),
    flags = ProtoField.uint8("seqcast_repl.flags", "Flags", base.HEX),
    end_ended = ProtoField.bool("seqcast_repl.flags.end", "End of session in end or verified", 8, nil, FLAG_END),
    committed_ended = ProtoField.bool("seqcast_repl.flags.committed", "End of session in committed", 8, nil, FLAG_COMMITTED),
    position_ended = ProtoField.bool("seqcast_repl.flags.position", "End of session in previous or tail", 8, nil, FLAG_POSITION),
    received_ended = ProtoField.bool("seqcast_repl.flags.received", "End of session in received", 8, nil, FLAG_RECEIVED),
    wanted_ended = ProtoField.bool("seqcast_repl.flags.wanted", "End of session in wanted", 8, nil, FLAG_WANTED),
    deaf = ProtoField.bool("seqcast_repl.flags.deaf", "Primary cannot go on, or sender does not hear receiver", 8, nil, FLAG_DEAF),
    needs_image = ProtoField.bool("seqcast_repl.flags.needs_image", "Needs an image", 8, nil, FLAG_NEEDS_IMAGE),
    wish = ProtoField.uint8("seqcast_repl.wish", "Wish", base.DEC, { [0] = "none", [1] = "to lead", [2] = "to leave" }),
    node = ProtoField.uint16("seqcast_repl.node", "Node"),
    session = ProtoField.string("seqcast_repl.session", "Session"),
    epoch = ProtoField.uint64("seqcast_repl.epoch", "Epoch"),
    incarnation = ProtoField.uint64("seqcast_repl.incarnation", "Incarnation", base.HEX),
    position_next = ProtoField.uint64("seqcast_repl.position.next", "Next number"),
    position_epoch = ProtoField.uint64("seqcast_repl.position.epoch", "Epoch of the frame before"),
    position_crc = ProtoField.uint32("seqcast_repl.position.crc", "CRC-32C of the frame before", base.HEX),
    frame_bytes = ProtoField.uint32("seqcast_repl.frame_bytes", "Bytes of frames"),
    end_next = ProtoField.uint64("seqcast_repl.end", "End"),
    committed = ProtoField.uint64("seqcast_repl.committed", "Committed"),
    published = ProtoField.uint64("seqcast_repl.published", "Published"),
    everywhere = ProtoField.uint64("seqcast_repl.everywhere", "On every node"),
    verified = ProtoField.uint64("seqcast_repl.verified", "Verified"),
    received = ProtoField.uint64("seqcast_repl.received", "Received"),
    wanted = ProtoField.uint64("seqcast_repl.wanted", "Wanted"),
    sources = ProtoField.uint16("seqcast_repl.image.sources", "Sources"),
    stamp = ProtoField.uint64("seqcast_repl.image.stamp", "Event time of the frame before (ns since the Unix epoch)"),
    replaces = ProtoField.uint64("seqcast_repl.image.replaces", "Incarnation to be replaced", base.HEX),
    source_next = ProtoField.uint64("seqcast_repl.image.source.next", "Source's own number that comes next"),
    source_session = ProtoField.string("seqcast_repl.image.source.session", "Source's session"),
    frame = ProtoField.none("seqcast_repl.frame", "Frame"),
    frame_len = ProtoField.uint32("seqcast_repl.frame.len", "Payload bytes"),
    frame_crc = ProtoField.uint32("seqcast_repl.frame.crc", "CRC-32C", base.HEX),
    frame_seq = ProtoField.uint64("seqcast_repl.frame.seq", "Sequence number"),
    frame_epoch = ProtoField.uint64("seqcast_repl.frame.epoch", "Epoch"),
    frame_stamp = ProtoField.uint64("seqcast_repl.frame.stamp", "Event time (ns since the Unix epoch)"),
    frame_source_seq = ProtoField.uint64("seqcast_repl.frame.source_seq", "Source's own number"),
    frame_previous_crc = ProtoField.uint32("seqcast_repl.frame.previous_crc", "CRC-32C of the frame before", base.HEX),
    frame_source = ProtoField.uint16("seqcast_repl.frame.source", "Source"),
    frame_kind = ProtoField.uint8("seqcast_repl.frame.kind", "Kind", base.DEC, frame_kinds),
    frame_version = ProtoField.uint8("seqcast_repl.frame.version", "Version"),
    frame_session = ProtoField.string("seqcast_repl.frame.session", "Source's session"),
    frame_payload = ProtoField.bytes("seqcast_repl.frame.payload", "Payload"),
}
repl.fields = f

local wrong_crc = ProtoExpert.new("seqcast_repl.crc.wrong", "The check sum is wrong", expert.group.CHECKSUM, expert.severity.ERROR)
local malformed = ProtoExpert.new("seqcast_repl.malformed", "Not a whole datagram of the stream", expert.group.MALFORMED, expert.severity.ERROR)
repl.experts = { wrong_crc, malformed }

-- CRC-32C by table; the numbers of the bit library are signed.
local crc_table = {}
for byte = 0, 255 do
    local crc = byte
    for _ = 1, 8 do
        local odd = bit.band(crc, 1) == 1
        crc = bit.rshift(crc, 1)
        if odd then crc = bit.bxor(crc, 0x82F63B78) end
    end
    crc_table[byte] = crc
end

local function crc32c(range)
    local bytes = range:bytes()
    local crc = -1
    for at = 0, bytes:len() - 1 do
        local entry = crc_table[bit.band(bit.bxor(crc, bytes:get_index(at)), 0xFF)]
        crc = bit.bxor(bit.rshift(crc, 8), entry)
    end
    return bit.tobit(bit.bnot(crc))
end

-- Whether the CRC at `stored` is that of `covered`; says so in the tree if it is not.
local function check_crc(item, stored, covered)
    if bit.tobit(stored:le_uint()) ~= crc32c(covered) then
        item:add_proto_expert_info(wrong_crc)
    end
end

local function add_header(tree, tvb)
    tree:add(f.magic, tvb(0, 4))
    check_crc(tree:add_le(f.crc, tvb(4, 4)), tvb(4, 4), tvb(8))
    tree:add_le(f.version, tvb(8, 1))
    tree:add_le(f.kind, tvb(9, 1))
    local flags = tree:add_le(f.flags, tvb(10, 1))
    local all = { f.end_ended, f.committed_ended, f.position_ended, f.received_ended, f.wanted_ended, f.deaf, f.needs_image }
    for _, flag in ipairs(all) do
        flags:add_le(flag, tvb(10, 1))
    end
    if tvb(9, 1):uint() == ACK then tree:add(f.wish, tvb(11, 1)) end
    tree:add_le(f.node, tvb(12, 2))
    tree:add(f.session, tvb(14, 10))
    tree:add_le(f.epoch, tvb(24, 8))
    tree:add_le(f.incarnation, tvb(32, 8))
end

local function add_position(tree, tvb, name)
    local position = tree:add(tvb(40, 20), name)
    position:add_le(f.position_next, tvb(40, 8))
    position:add_le(f.position_epoch, tvb(48, 8))
    position:add_le(f.position_crc, tvb(56, 4))
end

-- Adds the frame at `at` and gives where the next one begins; nil when it is not whole.
local function add_frame(tree, tvb, at)
    local left = tvb:len() - at
    if left < FRAME_HEADER_BYTES then return nil end
    local len = tvb(at, 4):le_uint()
    local framed = math.ceil((FRAME_HEADER_BYTES + len) / FRAME_ALIGN_BYTES) * FRAME_ALIGN_BYTES
    if framed > left then return nil end
    local frame = tree:add(f.frame, tvb(at, framed))
    frame:append_text(" " .. tostring(tvb(at + 8, 8):le_uint64()))
    frame:add_le(f.frame_len, tvb(at, 4))
    check_crc(frame:add_le(f.frame_crc, tvb(at + 4, 4)), tvb(at + 4, 4), tvb(at + 8, FRAME_HEADER_BYTES - 8 + len))
    frame:add_le(f.frame_seq, tvb(at + 8, 8))
    frame:add_le(f.frame_epoch, tvb(at + 16, 8))
    frame:add_le(f.frame_stamp, tvb(at + 24, 8))
    frame:add_le(f.frame_source_seq, tvb(at + 32, 8))
    frame:add_le(f.frame_previous_crc, tvb(at + 40, 4))
    frame:add_le(f.frame_source, tvb(at + 44, 2))
    frame:add_le(f.frame_kind, tvb(at + 46, 1))
    frame:add_le(f.frame_version, tvb(at + 47, 1))
    frame:add(f.frame_session, tvb(at + 48, 10))
    if len > 0 then frame:add(f.frame_payload, tvb(at + FRAME_HEADER_BYTES, len)) end
    return at + framed
end

local function add_append(tree, tvb)
    if tvb:len() < APPEND_BYTES or tvb(60, 4):le_uint() ~= tvb:len() - APPEND_BYTES then return nil end
    add_position(tree, tvb, "Previous")
    tree:add_le(f.frame_bytes, tvb(60, 4))
    tree:add_le(f.end_next, tvb(64, 8))
    tree:add_le(f.committed, tvb(72, 8))
    tree:add_le(f.published, tvb(80, 8))
    tree:add_le(f.everywhere, tvb(88, 8))
    local at, count = APPEND_BYTES, 0
    while at < tvb:len() do
        at = add_frame(tree, tvb, at)
        if not at then return nil end
        count = count + 1
    end
    local next = tostring(tvb(40, 8):le_uint64())
    local what = count == 0 and "Heartbeat at " or ("Append of " .. count .. " from ")
    return what .. next .. ", end " .. tostring(tvb(64, 8):le_uint64())
end

local function add_ack(tree, tvb)
    if tvb:len() ~= ACK_BYTES then return nil end
    add_position(tree, tvb, "Tail")
    tree:add_le(f.verified, tvb(64, 8))
    tree:add_le(f.received, tvb(72, 8))
    tree:add_le(f.wanted, tvb(80, 8))
    tree:add_le(f.committed, tvb(88, 8))
    if tvb(24, 8):le_uint64() == UInt64(0) then return "Hello, tail " .. tostring(tvb(40, 8):le_uint64()) end
    local text = "Ack to " .. tostring(tvb(64, 8):le_uint64())
    local wanted = tvb(80, 8):le_uint64()
    if wanted ~= UInt64(0) then
        text = text .. ", wants " .. tostring(tvb(72, 8):le_uint64()) .. " to " .. tostring(wanted)
    end
    return text
end

local function add_image(tree, tvb)
    if tvb:len() < IMAGE_BYTES then return nil end
    local count = tvb(60, 2):le_uint()
    if tvb:len() ~= IMAGE_BYTES + count * IMAGE_SOURCE_BYTES then return nil end
    add_position(tree, tvb, "Position")
    tree:add_le(f.sources, tvb(60, 2))
    tree:add_le(f.stamp, tvb(64, 8))
    tree:add_le(f.replaces, tvb(72, 8))
    for at = IMAGE_BYTES, tvb:len() - 1, IMAGE_SOURCE_BYTES do
        tree:add_le(f.source_next, tvb(at, 8))
        tree:add(f.source_session, tvb(at + 8, 10))
    end
    return "Image at " .. tostring(tvb(40, 8):le_uint64())
end

local function add_body(tree, tvb)
    local kind = tvb(9, 1):uint()
    if kind == APPEND then return add_append(tree, tvb) end
    if kind == ACK then return add_ack(tree, tvb) end
    if kind == IMAGE then return add_image(tree, tvb) end
    if kind == REFUSE and tvb:len() == HEADER_BYTES then
        return "Refuse, epoch " .. tostring(tvb(24, 8):le_uint64()) .. " is promised"
    end
    return nil
end

function repl.dissector(tvb, pinfo, root)
    if tvb:len() < HEADER_BYTES or tvb(0, 4):string() ~= "SQCR" then return 0 end
    pinfo.cols.protocol = "SQCREPL"
    local tree = root:add(repl, tvb())
    add_header(tree, tvb)
    local text = add_body(tree, tvb)
    if not text then tree:add_proto_expert_info(malformed) end
    pinfo.cols.info = "Node " .. tvb(12, 2):le_uint() .. ": " .. (text or "malformed")
    return tvb:len()
end

repl:register_heuristic("udp", function(tvb, pinfo, root)
    return repl.dissector(tvb, pinfo, root) > 0
end)
