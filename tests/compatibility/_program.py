"""A program for a bundle: call Turvo, and say how many logins that took."""

from __future__ import annotations

import requests

from turvo_session import TurvoAuth

if __name__ == "__main__":
    auth = TurvoAuth.from_env()
    url = f"{auth.base_url}/shipments/list"
    status = requests.get(url, auth=auth, timeout=20).status_code
    print(status, auth.stats.logins, auth.stats.store_errors)
