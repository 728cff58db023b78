"""Requests that Turvo does not document, and raw ones that make no sense."""

from __future__ import annotations

LIST = "/shipments/list"
STATUS = "/shipments/status/L10007"
_POST = b"POST /v1/shipments HTTP/1.1\r\n"

UNDOCUMENTED = [
    *(("GET", f"{LIST}?start={junk}", "", "start") for junk in ("x", "-5", "")),
    *(("GET", f"{LIST}?start={junk}", "", "start") for junk in ("9" * 5000, "٣")),
    ("GET", f"{LIST}?pageSize=many", "", "pageSize"),
    ("GET", f"{LIST}?pagesize=5", "", "spelt pageSize"),
    ("GET", f"{LIST}?status=2105", "", "such as status[eq]"),
    ("GET", f"{LIST}?unknown[eq]=x", "", "unknown[eq]"),
    *(
        ("GET", f"{LIST}?{name}=2105", "", f"no filter {name}")
        for name in ("status[gte]", "status[eq", "statuseq]", "status[eq]x")
    ),
    ("GET", f"{LIST}?sortBy=colour", "", "sortBy"),
    *(("PUT", STATUS, body, "Invalid change") for body in ("", "[]", "[" * 10**5)),
    ("PUT", "/shipments/L10007", '{"id": 1}', "must stay"),
    ("DELETE", "/shipments/L10007", "", "no DELETE of /v1/shipments/L10007"),
    *(("PUT", STATUS, f'{{"status": {junk}}}', "keys") for junk in (1, "[[]]")),
    ("PUT", STATUS, '{"status": {"code": {"key": []}}}', "keys"),
    *(("GET", f"/shipments/{junk}", "", "404") for junk in ("900000061", "٣", "")),
    *(("GET", path, "", "404") for path in ("/nothing", "/v2/shipments/list")),
    *(("GET", path, "", "404") for path in ("/v3/x", "/v2/accounts//list")),
    ("POST", "/nothing", "", "404"),
    ("POST", STATUS, "", "405"),
    ("PUT", "/shipments/L99/status", "{}", "404"),
]
"""Method, path and body of a request, and what the answer tells."""

JUNK = [
    (_POST + b"Content-Length: many\r\n\r\nGET /v1/x HTTP/1.1\r\n\r\n", b"400"),
    (_POST + b"Content-Length: -1\r\n\r\n", b"400"),
    (_POST + b"Content-Length: 999999999999\r\n\r\n", b"400"),
    (_POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
    (b"GET http://[ HTTP/1.1\r\n\r\n", b"400"),
    (b"BREW /v1/shipments HTTP/1.1\r\n\r\n", b"501"),
]
"""What arrives instead of a request, and the status of the answer."""
