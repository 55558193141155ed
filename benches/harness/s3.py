"""The S3 server of scripts/with-s3, and bare transfers with it: lists objects and signs addresses for curl.

Signatures are AWS Signature Version 4 in the query ("presigned"), with an unsigned payload, so that
curl hashes nothing and needs no key.
"""

import datetime
import hashlib
import hmac
import os
import secrets
import urllib.parse
import urllib.request
import xml.etree.ElementTree as xml
from dataclasses import dataclass
from pathlib import Path

EXPIRES_SECONDS = 6 * 3600
REGION = "us-east-1"


@dataclass
class Remote:
    """One tool's prefix on the server, in every spelling."""

    url: str
    restic: str
    prefix: str
    # What follows lifeboat's repository options, and what every tool finds in its environment.
    lifeboat: list
    environment: dict


class Server:
    """Where scripts/with-s3 says that a server is."""

    def __init__(self, environment):
        self.endpoint = environment["LIFEBOAT_TEST_S3_ENDPOINT"]
        self.bucket = environment["LIFEBOAT_TEST_S3_BUCKET"]
        self.file = environment["LIFEBOAT_TEST_S3_CREDENTIALS_FILE"]
        lines = Path(self.file).read_text(encoding="ascii").split()
        self.keys = dict(line.split("=", 1) for line in lines)

    @classmethod
    def find(cls):
        """The server, or None where there is none."""
        return cls(os.environ) if "LIFEBOAT_TEST_S3_ENDPOINT" in os.environ else None

    def remote(self, tool):
        prefix = f"bench-{secrets.token_hex(8)}/{tool}"
        return Remote(f"s3://{self.bucket}/{prefix}", f"s3:{self.endpoint}/{self.bucket}/{prefix}", prefix,
                      ["--endpoint", self.endpoint, "--credentials-file", self.file],
                      {**self.keys, "AWS_REGION": REGION})

    def presign(self, method, key="", **query):
        """An address that may be used by anybody for some hours, for one method on one object."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        query |= {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{self.keys['AWS_ACCESS_KEY_ID']}/{scope}",
                  "X-Amz-Date": now, "X-Amz-Expires": str(EXPIRES_SECONDS), "X-Amz-SignedHeaders": "host"}
        path = urllib.parse.quote(f"/{self.bucket}/{key}" if key else f"/{self.bucket}")
        pairs = "&".join(f"{urllib.parse.quote(name, safe='')}={urllib.parse.quote(value, safe='')}"
                         for name, value in sorted(query.items()))
        host = urllib.parse.urlsplit(self.endpoint).netloc
        request = "\n".join([method, path, pairs, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"])
        signed = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
        step = f"AWS4{self.keys['AWS_SECRET_ACCESS_KEY']}".encode()
        for part in scope.split("/"):
            step = hmac.digest(step, part.encode(), "sha256")
        return f"{self.endpoint}{path}?{pairs}&X-Amz-Signature={hmac.digest(step, signed.encode(), 'sha256').hex()}"

    def objects(self, prefix):
        """Names and lengths of all objects below a prefix."""
        found, more = [], {}
        while True:
            address = self.presign("GET", **{"list-type": "2", "prefix": prefix}, **more)
            with urllib.request.urlopen(address, timeout=60) as answer:
                page = xml.parse(answer).getroot()
            space = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
            found += [(one.findtext(f"{space}Key"), int(one.findtext(f"{space}Size")))
                      for one in page.iter(f"{space}Contents")]
            token = page.findtext(f"{space}NextContinuationToken")
            if not token:
                return found
            more = {"continuation-token": token}

    def write_downloads(self, prefix, config):
        """What curl needs to read everything below a prefix and keep nothing."""
        lines = [f'url = "{self.presign("GET", key)}"\noutput = "/dev/null"\n' for key, _ in self.objects(prefix)]
        write_private(config, "".join(lines))

    def write_uploads(self, folder, prefix, config):
        """What curl needs to send every file below a folder to a prefix."""
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        lines = [f'url = "{self.presign("PUT", f"{prefix}/{path.relative_to(folder)}")}"\nupload-file = "{path}"\n'
                 for path in files]
        write_private(config, "".join(lines))


def write_private(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
