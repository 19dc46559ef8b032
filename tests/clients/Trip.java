import java.math.BigDecimal;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.BookingsApi;
import org.openapitools.client.model.BookRequest;

/** Books, rolls back, does not wait, looks up, lists, cancels and is refused, by a generated client. */
class Trip {
    static void check(boolean holds, Object what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static BookRequest trip(String hotel) {
        return new BookRequest()
                .name(" Łukasz").attempts(2).car("valid-car").hotel(hotel).flight("valid-flight");
    }

    public static void main(String[] arguments) throws ApiException {
        var client = new ApiClient();
        client.updateBaseUri(arguments[0]);
        var trips = new BookingsApi(client);

        var booked = trips.bookWithHttpInfo(trip("valid-hotel"), "java-1", null);
        check(booked.getStatusCode() == 200, booked);
        check(!booked.getData().getCancelled(), booked.getData());
        check(booked.getData().getCar().equals("Car: valid-car"), booked.getData());
        var again = trips.book(trip("valid-hotel"), "java-1", null);
        check(again.getUserId().equals(booked.getData().getUserId()), again);

        var undone = trips.book(trip("invalid-hotel"), null, null);
        check(undone.getCancelled() && undone.getReason() != null, undone);
        check(undone.getCar() == null, undone);

        var answer = trips.bookWithHttpInfo(trip("valid-hotel"), null, "respond-async");
        var accepted = answer.getData();
        check(answer.getStatusCode() == 202 && accepted.getCancelled() == null, accepted);
        check(accepted.getStatus().getValue().equals("running"), accepted);
        check(accepted.getLocation().equals("/bookings/" + accepted.getUserId()), accepted);

        var found = trips.getBooking(accepted.getUserId(), BigDecimal.valueOf(20));
        check(found.getStatus().getValue().equals("booked") && found.getSteps().size() == 3, found);
        check(found.getReservations().get("hotel").equals("valid-hotel"), found);

        var page = trips.listBookings(null, 2, null);
        check(page.getBookings().get(0).getUserId().equals(accepted.getUserId()), page);
        check(page.getBookings().get(1).getUserId().equals(undone.getUserId()), page);
        page = trips.listBookings(null, 1, page.getNextCursor());
        check(page.getBookings().size() == 1, page);
        check(page.getBookings().get(0).getUserId().equals(again.getUserId()), page);
        check(page.getBookings().get(0).getName().equals(" Łukasz"), page);

        var cancelled = trips.cancelBooking(again.getUserId());
        check(cancelled.getStatus().getValue().equals("cancelled"), cancelled);
        check(cancelled.getReservations().isEmpty(), cancelled);

        try {
            trips.book(trip("invalid-hotel"), "java-1", null);
            check(false, "The key was taken with another body");
        } catch (ApiException refused) {
            check(refused.getCode() == 422, refused);
            check(refused.getResponseBody().contains("another body"), refused.getResponseBody());
        }
    }
}
