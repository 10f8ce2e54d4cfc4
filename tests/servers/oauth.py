"""Canaille with two clients, run by its own interpreter: ``python oauth.py PORT LIFETIME_S SECRET``."""

import sys

from authlib.oauth2.rfc6749 import ClientCredentialsGrant
from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from werkzeug.serving import make_server

port, lifetime_s, secret = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
# It offers both ways for other grants; for this one only after it is asked to.
ClientCredentialsGrant.TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]
app = create_app(
    {
        "SECRET_KEY": "for tests only",
        "OAUTH2_TOKEN_EXPIRES_IN": {"client_credentials": lifetime_s},
        "CANAILLE_SQL": {"DATABASE_URI": "sqlite:///oauth.sqlite"},
        "CANAILLE_OIDC": {},
    }
)
with app.app_context():
    for method in ("post", "basic"):
        client = models.Client(
            client_id=f"by-{method}",
            client_secret=secret,
            token_endpoint_auth_method=f"client_secret_{method}",
            grant_types=["client_credentials"],
            scope=["read"],
        )
        Backend.instance.save(client)
        client.audience = [client]
        Backend.instance.save(client)
make_server("127.0.0.1", port, app, threaded=True).serve_forever()
