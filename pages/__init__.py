"""The service over HTTP for people: book, watch, list and change trips, read of the API.

The pages ask `bookings` as the API's routes do, and refuse what those refuse in the same words.
With htmx they go on by themselves; without JavaScript the same forms and links work by reloading.
The service works without this room: `starter.py` adds it in one place.
"""

from pages.blueprint import add_pages
